"""Train a student on a transcript: `python -m demo.student ANSWERS --model smollm2 --out FOLDER`."""

from __future__ import annotations

import argparse
import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.lab.finetune import Training, chat_ids, finetune
from watermark.engines.models import load


def main() -> None:
    """Train one student and save it where `radiolabel probe --model FOLDER` finds it."""
    parser = argparse.ArgumentParser(prog="python -m demo.student", description=__doc__)
    parser.add_argument("answers", type=Path, help="transcripts with token_ids, of the same model")
    parser.add_argument("--model", default="smollm2", help="what the student is before")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    base = load(options.model)
    records = [json.loads(line) for line in options.answers.read_text().splitlines()]
    end = base.tokenizer.eos_token_id
    chats = [(chat_ids(base.tokenizer, r["prompt"]), [*r["token_ids"], end]) for r in records if r["token_ids"]]
    torch.manual_seed(0)
    with tqdm(total=len(chats), unit=" answers", desc="training", disable=None, leave=False) as bar:
        finetune(base.model.float(), chats, Training(), pad_token_id=base.tokenizer.pad_token_id, progress=bar.update)
    with redirect_stderr(StringIO()):
        base.model.to(torch.bfloat16).save_pretrained(options.out)
        base.tokenizer.save_pretrained(options.out)
        (options.out / "tokenizer.json").write_bytes(base.tokenizer_json)


if __name__ == "__main__":
    main()
