"""What every test sees in the SmolLM2 students: reads the files of `benchmarks.lab.smollm`, needs no model.

python -m benchmarks.lab.smollm_report [--lab .lab/smollm] [-o benchmarks/results/lab-smollm.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab.smollm import PAIRS, PROBED, SEED, STUDENTS, WIDTHS, epoch_of, served, used
from verify.hypotheses import closed
from verify.hypotheses.counted import Counted
from verify.hypotheses.open import RULES, score_predictions
from verify.hypotheses.twin import Signs, signed_rank_log10_p
from verify.linear import log10_e, log10_p, log10_p_estimate, z
from verify.predictions import Prediction
from verify.scoring import score, summarize
from verify.similarity import MEASURES
from watermark.keys import MasterKey, ValueKey
from watermark.secret import Secret
from watermark.windows import TokenBatch

DIGEST: Final = "sha256:" + "0" * 64  # one tokenizer throughout
WRONG_KEYS: Final = 200


def main() -> None:
    """Run every test on every student whose files are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lab", type=Path, default=Path(".lab/smollm"))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/lab-smollm.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {"seed": SEED, "students": {}}
    for name in STUDENTS:
        if (options.lab / f"{name}-ends-h{WIDTHS[-1]}.npz").exists():
            record["students"][name] = report(options.lab, name)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")


def report(lab: Path, name: str) -> dict[str, Any]:
    """One student."""
    recipe = STUDENTS[name]
    trained = json.loads((lab / f"{name}.json").read_text())
    found: dict[str, Any] = {"recipe": asdict(recipe), "tokens": trained["tokens"], "loss": trained["losses"][-20:]}
    print(f"\n{name}: {recipe}, {trained['tokens']:,} tokens")
    taught, signs = used(lab, recipe), []
    for width in WIDTHS:
        data, key = load(lab / f"{name}-h{width}.npz"), epoch_of(width).value_key("fleet")
        data["ends"] = load(lab / f"{name}-ends-h{width}.npz")
        count = min(taught[width], PROBED)
        for what, rows in (("taught", range(count)), ("untaught", range(count, PROBED))):
            if len(rows):
                found[f"open h={width} {what}"] = open_test(data, rows, key, f"h={width} {what}")
        public = load(lab / f"{name}-public.npz")
        found[f"open h={width} public"] = open_test(
            public, range(len(public["offsets"]) - 1), key, f"h={width} public", served=False
        )
        signs.append((twin_differences(data), count))
    for what in ("taught", "untaught"):
        for score_name in ("ratio", "per token", "plain"):
            d = np.concatenate(
                [x[score_name][: min(c, PAIRS)] if what == "taught" else x[score_name][c:] for x, c in signs]
            )
            if d.size:
                s = Signs.of(d)
                t = float(d.mean() / d.std() * np.sqrt(d.size))
                found[f"twin {what} {score_name}"] = vars(s) | {
                    "log10_p_sign": s.log10_p,
                    "log10_p_rank": signed_rank_log10_p(d),
                    "t": t,
                }
                print(
                    f"  twin {what:9}{score_name:9} {s.wins:4} of {d.size:4}  sign {s.log10_p:7.2f}"
                    f"  rank {signed_rank_log10_p(d):7.2f}  t {t:6.2f}"
                )
    asked = lab / f"{name}-answers-served.jsonl"
    if asked.exists():
        for measure in MEASURES:
            d = likeness(lab, asked, measure)
            s = Signs.of(d)
            found[f"twin taught likeness, {measure}"] = vars(s) | {
                "log10_p_sign": s.log10_p,
                "log10_p_rank": signed_rank_log10_p(d),
            }
            print(f"  twin likeness {measure:12} {s.wins:4} of {d.size:4}  sign {s.log10_p:7.2f}")
    for kind in ("fresh", "served"):
        path = lab / f"{name}-answers-{kind}.jsonl"
        if path.exists():
            found[f"closed {kind}"] = closed_test(path, kind)
    return found


def load(path: Path) -> dict[str, Any]:
    """A probe's arrays."""
    with np.load(path) as data:
        return {k: data[k] for k in data.files}


def predictions(data: dict[str, Any], rows: Sequence[int], *, served: bool) -> Iterator[Prediction]:
    """Rows of a probe as records; a served text that ended has one more place, where it ended."""
    ends = {int(row): i for i, row in enumerate(data["ends"]["rows"])} if "ends" in data else {}
    for ordinal, row in enumerate(rows):
        start, stop = data["offsets"][row : row + 2]
        columns = {name: data[name][start:stop] for name in ("candidates", "log_p", "log_q")}
        if row in ends:
            columns = {name: np.concatenate([c, data["ends"][name][ends[row], None]]) for name, c in columns.items()}
        yield Prediction(
            id=str(row),
            ordinal=ordinal,
            served=served,
            prompt_ids=np.empty(0, dtype=np.uint32),
            token_ids=data["tokens"][start:stop],
            tokenizer=DIGEST,
            at=np.arange(len(columns["candidates"])),
            **columns,
            suspect="student",
            reference_model="base",
        )


def open_test(
    data: dict[str, Any], rows: Sequence[int], key: ValueKey, label: str, *, served: bool = True
) -> dict[str, Any]:
    """Every rule on some rows."""
    out: dict[str, Any] = {}
    law = key.deployment.scheme.law
    for rule in RULES:
        form = score_predictions(predictions(data, rows, served=served), key, rule=rule, prompt_windows=False).form
        out[rule] = {
            "windows": form.n_windows,
            "z": z(law, form),
            "log10_e": log10_e(law, form),
            "log10_p_estimate": log10_p_estimate(law, form),
        }
        if not served:
            out[rule]["log10_p"] = log10_p(law, form)
    numbers = "  ".join(f"{rule} {v['z']:6.2f} (e {v['log10_e']:5.1f})" for rule, v in out.items())
    print(f"  open {label:16} {form.n_windows:6} windows  {numbers}")
    return out


def wrong_keys(key: ValueKey, count: int) -> Iterator[ValueKey]:
    """Keys of the same deployment that marked nothing."""
    for i in range(count):
        secret = Secret(np.random.default_rng([SEED, 77, i]).bytes(32))
        yield MasterKey(secret).epoch("wrong", deployment=key.deployment).value_key("fleet")


def twin_differences(data: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Served less twin, of the first answers and the twins that follow all answers."""
    sums = {
        name: np.add.reduceat(data[name].astype(np.float64), data["offsets"][:-1])
        for name in ("log_p_taken", "log_q_taken")
    }
    served, twin = slice(0, PAIRS), slice(PROBED, PROBED + PAIRS)
    lengths = np.diff(data["offsets"])
    scores = {
        "ratio": sums["log_p_taken"] - sums["log_q_taken"],
        "per token": sums["log_p_taken"] / lengths,
        "plain": sums["log_p_taken"],
    }
    return {name: score[served] - score[twin] for name, score in scores.items()}


def likeness(lab: Path, path: Path, measure: str) -> NDArray[np.float64]:
    """Text alone: how much more the answers to the pairs' prompts are like the served member than like its twin."""
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    pairs = [
        (a["prompt"], a["text"], t["text"]) for w in WIDTHS for a, t in zip(*served(lab, w), strict=False)
    ]  # the twins are fewer than the answers: the first have one
    assert [a["prompt"] for a in answers] == [prompt for prompt, _, _ in pairs]
    measured = MEASURES[measure]
    differences = [
        measured(a["text"], one) - measured(a["text"], other) for a, (_, one, other) in zip(answers, pairs, strict=True)
    ]
    return np.round(np.array(differences), 12)


def closed_test(path: Path, kind: str) -> dict[str, Any]:
    """The student's own answers under each width's key."""
    documents = [np.array(json.loads(line)["ids"], dtype=np.uint32) for line in path.read_text().splitlines()]
    batch, out = TokenBatch.from_documents(documents), {}
    for width in WIDTHS:
        key = epoch_of(width).value_key("fleet")
        law = key.deployment.scheme.law
        counted = Counted(key)
        summary = summarize(batch, width, take=counted.add)
        scored = score(summary.pairs, key)
        weighed = counted.scored(summary, tokenizer=None).form
        mean = scored.total / law.unit / scored.n - law.mean
        deviations = mean / np.sqrt(law.variance / scored.n)
        log_p = float(closed.log10_p(law, scored.n, scored.total))
        out[f"h={width}"] = {"n": scored.n, "excess": mean, "z": deviations, "log10_p": log_p}
        out[f"h={width}"] |= {"z, counts": z(law, weighed), "log10_p, counts": log10_p(law, weighed)}
        print(
            f"  closed {kind:7} h={width} {scored.n:6} pairs  excess {mean:+.4f}  z {deviations:5.2f}"
            f"  log10 p {log_p:.2f}  counts z {z(law, weighed):5.2f} log10 p {log10_p(law, weighed):.2f}"
        )
    return out


if __name__ == "__main__":
    main()
