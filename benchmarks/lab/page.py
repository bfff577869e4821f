"""The lab's page: `python -m benchmarks.lab.page` writes docs/lab.md from the saved results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.lab.accounts_page import access_part, crowd_part, joined_part, ring_part
from benchmarks.lab.tables import table

RESULTS: Final = Path("benchmarks/results")
PAGE: Final = Path("docs/lab.md")


def main() -> None:
    """Write the page from what is there."""
    parts = ["# What the tests see in real students", HEAD]
    family, smollm, choice = (read(f"lab-{name}.json") for name in ("family", "smollm", "choice"))
    if smollm:
        parts += smollm_part(smollm)
    if family:
        parts += family_part(family)
    if choice:
        parts += choice_part(choice)
    PAGE.write_text("\n\n".join(parts) + "\n")
    print(PAGE)


HEAD: Final = (
    "This page is written by `python -m benchmarks.lab.page` from the results in `benchmarks/results/`, and nothing on "
    "it is typed in by hand. `benchmarks/lab/README.md` says how to make the results again and what each run costs.\n"
    "A *student* is a model trained on what was served; an *innocent* never saw it. `log10 e` decides where windows "
    "were served (p is at most 1/e), `log10 p` elsewhere."
)


def read(name: str) -> Any:
    """A saved result, or None."""
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def smollm_part(record: dict[str, Any]) -> Iterator[str]:
    """SmolLM2 students."""
    students = record["students"]
    yield "## SmolLM2-135M students"
    yield (
        "The teacher is SmolLM2-135M-Instruct at temperature 1, `gumbel`, three quarters of the windows on the fleet "
        "channel, 300 answers of up to 120 tokens under a key of its own for each width. A student is the same model "
        f"fine-tuned once on served answers among answers of real conversations. Seed {record['seed']}; "
        "`python -m benchmarks.lab.smollm`, `python -m benchmarks.lab.smollm_report`."
    )
    shares = {name: f"{100 * s['recipe']['share']:g} %" for name, s in students.items()}
    yield table(
        ("student", "served share", "training tokens", "answers"),
        ((n, shares[n], f"{s['tokens']:,}", s["recipe"]["answers"]) for n, s in students.items()),
    )
    yield (
        "**Open test on served windows**: z and log10 e of the rules, and how many times fewer windows `difference` "
        "and `root` need than `top1` for the same z (z grows as the root of the windows). *taught* are answers in the "
        "student's training, *untaught* served ones that it never saw, *public* text that nobody served."
    )
    rows = []
    for name, s in students.items():
        for what, rules in s.items():
            if not what.startswith("open"):
                continue
            root, difference, soft, top1 = (rules[r] for r in ("root", "difference", "soft", "top1"))
            fewer = [f"{(r['z'] / top1['z']) ** 2:.1f}" if top1["z"] > 1.96 else "" for r in (difference, root)]
            rows.append(
                (
                    name,
                    what[5:],
                    f"{root['windows']:,}",
                    *(f"{r['z']:.1f} ({r['log10_e']:.1f})" for r in (root, difference, soft, top1)),
                    *fewer,
                )
            )
    yield table(
        ("student", "windows", "n", "root", "difference", "soft", "top1", "difference / top1", "root / top1"), rows
    )
    yield "**Twin test**, all widths together: wins, and log10 p of signs and of ranks."
    names = {f"likeness, {m}": f"likeness of answers, {m}: text alone" for m in ("ngram", "subsequence")}
    names |= {"ratio": "ratio to the base", "per token": "per token, no reference", "plain": "plain, no reference"}
    yield table(
        ("student", "pairs", "score", "wins", "log10 p, signs", "log10 p, ranks"),
        (
            (name, what.split()[1], names[what.split(maxsplit=2)[2]], f"{t['wins']} of {t['wins'] + t['losses']}",
             f"{t['log10_p_sign']:.1f}", f"{t['log10_p_rank']:.1f}")
            for name, s in students.items()
            for what, t in s.items()
            if what.startswith("twin")
        ),
    )  # fmt: skip
    yield "**Closed test**: the student's own answers, text alone. *fresh* prompts were never served."
    yield table(
        ("student", "prompts", "width", "pairs", "excess per pair", "z", "log10 p", "z, counts", "log10 p, counts"),
        (
            (
                name,
                what.split()[1],
                width,
                f"{c['n']:,}",
                f"{c['excess']:+.4f}",
                f"{c['z']:.2f}",
                f"{c['log10_p']:.2f}",
                f"{c['z, counts']:.2f}",
                f"{c['log10_p, counts']:.2f}",
            )
            for name, s in students.items()
            for what, widths in s.items()
            if what.startswith("closed")
            for width, c in widths.items()
        ),
    )


def family_part(record: dict[str, Any]) -> Iterator[str]:
    """Small transformers."""
    if "innocents" in record:
        found = record["innocents"]
        yield "## Innocents"
        yield (
            f"{found['students']:,} small transformers that never saw what was served, ten under each of "
            f"{found['keys']} true keys, trained on clean text and on answers of the same teacher under other keys, "
            "tested under the true key. Rejections at each level; 95 % intervals are robust to the clusters (keys), "
            "and *effective* is the number of independent students that they are worth."
        )
        yield rate_table(
            found["tests"] | record.get("roots", {}).get("tests", {}) | record.get("counts", {}).get("tests", {})
        )
    if "decoys" in record:
        yield "Rank of the true key among 100,000 decoy keys, on the text of four innocents and of a served student:"
        yield table(
            ("student", "scheme", "width", "rank", "log10 p of the rank", "log10 p, closed"),
            (
                (
                    name,
                    d["scheme"],
                    d["width"],
                    f"{d['rank']:,}",
                    f"{d['log10_p']:.3f}",
                    f"{d['closed']['log10_p']:.3f}",
                )
                for name, d in record["decoys"].items()
            ),
        )
    if "trap" in record:
        yield "## The trap: pairs that are not twins"
        yield (
            "Innocent students, tested with twins drawn under the same fixed-channel keys (shipped), under another "
            "key, or unmarked."
        )
        yield rate_table(record["trap"])
    if "shares" in record:
        yield "## The twin test against share, epochs, rate, length and clean training afterwards"
        yield (
            "100 pairs of 48 tokens an account (16 or 96 for *short* and *long*); the share is that of one account's "
            "answers in the training tokens. Scored by the ratio to the base."
        )
        rows = []
        for name, run in record["shares"].items():
            c = run["configuration"]
            for when, x in run.items():
                if when == "configuration":
                    continue
                base = x["base"]
                p = sorted(base["log10_p"])
                rows.append(
                    (name, f"{100 * c['share']:g} %", c["accounts"], c["size"], c["epochs"], c["rate"], when,
                     f"{base['win_rate']:.3f}", f"{x['none']['win_rate']:.3f}",
                     f"{p[len(p) // 2]:.1f}", f"{sum(v <= -6 for v in p)} of {len(p)}")
                )  # fmt: skip
        yield table(
            ("run", "share", "accounts", "size", "epochs", "rate", "when", "win rate", "without base",
             "median log10 p", "p at most 1e-6"), rows
        )  # fmt: skip
    if "edits" in record:
        yield "## The twin test when answers were edited or cut before training"
        yield (
            "Five accounts of 100 pairs at 1 % each, tested as they were served; unedited they are the run *share-5* "
            "above. Edited tokens are drawn anew by the base model; a true paraphrase was not tried."
        )
        edits = []
        for run in record["edits"].values():
            base = run["at the end"]["base"]
            low, high = base["win_rate_interval"]
            p = sorted(base["log10_p"])
            edits.append(
                (
                    run["configuration"]["edit"],
                    f"{100 * run['configuration']['changed']:.0f} %",
                    f"{base['win_rate']:.3f} ({low:.3f} to {high:.3f})",
                    f"{p[len(p) // 2]:.1f}",
                    base["pairs_needed"],
                )
            )
        yield table(
            ("edit", "tokens changed", "win rate", "median log10 p", "pairs for 1e-6 in one of two cases"), edits
        )
    if "ring" in record:
        yield "## Through which accounts"
        yield from ring_part(record["ring"])
    if "crowd" in record:
        yield "## Through which accounts: by the thousand"
        yield from crowd_part(record["crowd"])
    if "access" in record:
        yield "## Through which accounts: what the suspect lets be seen"
        yield from access_part(record["access"])
    if "joined" in record:
        yield "## Through which accounts: twins and marks together"
        yield from joined_part(record["joined"])
    if "marks" in record:
        yield "## Closed and open tests by share, scheme and width"
        yield from marks_part(record["marks"])
    if "foreign" in record:
        yield "## A student with another tokenizer"
        yield from foreign_part(record["foreign"])
    if "growth" in record:
        yield "## How the closed test grows"
        yield from growth_part(record["growth"])


def marks_part(record: dict[str, Any]) -> Iterator[str]:
    """By deployment."""
    rules = [r for r in next(iter(record["choice"].values()), {}) if r != "root"]
    yield (
        "Mean z of each coefficient rule over the deployments of a student. The rule was chosen on the tuning student "
        "and is read off the others; `powers, x` is p^x - q^x, and `powers, 0.5` is the shipped `root`."
    )
    every = {f"{name} (tuning)": z for name, z in record["choice"].items()} | record["fresh"]
    yield table(("student", *rules), ((name, *(f"{z[r]:.2f}" for r in rules)) for name, z in every.items()))
    rows = []
    for name, run in record["runs"].items():
        for c in run["campaigns"]:
            served, public, controlled = c.get("served", {}), c.get("public", {}), c.get("closed with base")

            def cell(found: dict[str, Any], rule: str) -> str:
                return f"{found[rule]['z']:.1f} ({found[rule]['log10_e']:.1f})" if rule in found else ""

            rows.append(
                (name, f"{100 * run['configuration']['share']:g} %", c["scheme"], c["width"], c["shares"],
                 f"{c['closed']['z']:.2f} ({c['closed']['n']:,})",
                 f"{controlled['z']:.2f} ({controlled['n']:,})" if controlled else "",
                 cell(served, "powers, 0.5"), cell(served, "difference"), cell(served, "top1"),
                 cell(public, "powers, 0.5"))
            )  # fmt: skip
    yield (
        "Closed: z (pairs), text alone and with the base as control variate. Open: z (log10 e) on served windows by "
        "the rules `root`, `difference`, `top1`, and by `root` on public text."
    )
    yield table(
        ("student", "share", "scheme", "width", "shares", "closed", "closed with base", "root", "difference", "top1",
         "root, public"), rows
    )  # fmt: skip


def foreign_part(record: dict[str, Any]) -> Iterator[str]:
    """Another tokenizer."""
    taught = record["taught"]
    yield (
        "A small transformer with a BPE of 2,048 entries, trained on the text that SmolLM2 served (three quarters of "
        "its training). Its answers are tokenized again with the teacher's tokenizer."
    )
    yield table(
        ("test", "result"),
        [
            *((f"closed, {w}", f"z {c['z']:.2f}, log10 p {c['log10_p']:.2f}, {c['n']:,} pairs")
              for w, c in taught["closed"].items()),
            *((f"twin, {name}", f"{t['wins']} of {t['wins'] + t['losses']}, log10 p {t['log10_p']:.1f}")
              for name, t in taught["twin"].items()),
        ],
    )  # fmt: skip
    yield f"{record['innocents']} innocents with that tokenizer under the same three true keys:"
    yield rate_table(record["tests"])


def growth_part(record: dict[str, Any]) -> Iterator[str]:
    """Curves and fits."""
    rows = []
    order = sorted(
        record["runs"].items(), key=lambda r: (r[1]["configuration"]["width"], r[1]["configuration"]["served"])
    )
    for name, run in order:
        c = run["configuration"]
        for point in run["curve"]:
            rows.append(
                (name, c["width"], f"{c['served']:,}", f"{point['asked']:,}", f"{point['n']:,}",
                 f"{point['excess']:+.4f}", f"{point['z']:.2f}", f"{point['log10_p']:.2f}",
                 f"{point['z, counts']:.2f}", f"{point['log10_p, counts']:.2f}")
            )  # fmt: skip
    yield table(
        (
            "run",
            "width",
            "answers served",
            "answers asked",
            "pairs",
            "excess",
            "z",
            "log10 p",
            "z, counts",
            "log10 p, counts",
        ),
        rows,
    )
    yield (
        "Distinct pairs alone say less the more is asked: what was learned is soon said, and further pairs are chance. "
        "With counts as weights z holds or grows. The cap on counts was chosen on the students h1-400, h1-1600 and "
        "h2-1600 before this run."
    )
    yield (
        "Fit of the excess of distinct pairs against the answers served, x = A N^b (weighted least squares on "
        "logarithms, parametric bootstrap), and the pairs that a p of 1e-6 needs at each N with "
        "probability 0.95."
    )
    fits = []
    for width, fit in record["fits"].items():
        if "b" in fit:
            low, high = fit["b interval"]
            at, (a_low, a_high) = fit["excess at the campaign, extrapolated"], fit["its interval"]
            needs = ", ".join("no effect" if n is None else f"{n:,}" for n in fit["pairs needed for 1e-6 at each N"])
            fits.append((width, f"{fit['A']:.2g}", f"{fit['b']:.2f} ({low:.2f} to {high:.2f})",
                         f"{at:.2g} ({a_low:.2g} to {a_high:.2g})", needs))  # fmt: skip
    yield table(("", "A", "b", "excess at 28.8 million exchanges, extrapolated", "pairs needed at each N"), fits)
    yield (
        "The extrapolation goes four powers of ten beyond the largest N measured and to students a thousand times "
        "larger: it shows what the fitted curve says, and is no forecast. The excess cannot exceed that of wholly "
        "marked text."
    )
    controls = [
        (name, f"{run['control']['asked']}", f"{run['control']['plain z']:.2f}",
         f"{run['control']['with the base']['z']:.2f}")
        for name, run in order
    ]  # fmt: skip
    yield "With the base as control variate, the same answers:"
    yield table(("run", "answers", "z, text alone", "z, with the base"), controls)


def choice_part(record: dict[str, Any]) -> Iterator[str]:
    """The table that the default is chosen from."""
    yield "## Which deployment"
    yield (
        f"SmolLM2-135M-Instruct, {record['prompts']} prompts, each answered {record['answers']} times under one key, "
        f"{record['max_tokens']} tokens, temperature 1 (`python -m benchmarks.lab.choice`). 95 % bootstrap intervals "
        "over prompts. Excess is in standard deviations of a score, on the key's channel."
    )

    def cell(x: dict[str, Any] | None) -> str:
        return "" if x is None else f"{x['mean']:.3f} ({x['interval'][0]:.3f} to {x['interval'][1]:.3f})"

    keys = ("distinct bigrams", "distinct trigrams", "common prefix", "log-likelihood", "excess")
    yield table(("deployment", *keys), ((name, *(cell(c[k]) for k in keys)) for name, c in record["choices"].items()))
    yield (
        "Stealing: the share of the mark's excess on fresh windows that a forger gains who knows so many served "
        "answers of 120 tokens."
    )
    stocks = sorted(next(iter(record["stealing"].values())), key=int)
    yield table(
        ("width", *(f"{stock} answers" for stock in stocks)),
        ((width, *(cell(s[stock]) for stock in stocks)) for width, s in record["stealing"].items()),
    )


def rate_table(tests: dict[str, Any]) -> str:
    """Rejection rates of several tests."""
    rows = []
    for name, levels in tests.items():
        cells = [f"{x['rejected']} ({100 * x['low']:.2f} to {100 * x['high']:.2f} %)" for x in levels]
        rows.append((name, levels[0]["n"], f"{levels[0]['effective']:.0f}", *cells))
    return table(("test", "n", "effective", "at 5 %", "at 1 %", "at 0.1 %"), rows)


if __name__ == "__main__":
    main()
