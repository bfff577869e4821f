"""Makes the golden evidence of one version: run once, when that version is released, and never again.

    python -m tests.golden.make tests/golden/v1

Keys are thrown away but for what is disclosed, the authority is made here, and every text is drawn from the words of a
small tokenizer. What comes out is what `radiolabel` of this version wrote, and later versions have to accept it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.evidence_case import Provider, run
from tests.tsa_server import Authority, TSAServer

VOCABULARY = 700
KEY = "disclosed.json"  # the one that a court gets
RELEASED = "2099-01-01T00:00:00Z"
CASES = {
    "closed": ("rival.json", "fleet", ("rival-answers.jsonl", "tokenizer.json", "prompts.txt", "innocent.json")),
    "twin": ("twin.json", "coin", ("pairs.jsonl", "likelihoods.jsonl")),
}


def tokenizer() -> Tokenizer:
    """A byte-level BPE, as small as it goes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
    return made


def make(out: Path, work: Path) -> None:
    """Fill a new folder.

    Args:
        out: must not exist.
        work: an empty folder, for all that is thrown away.
    """
    out.mkdir(parents=True)
    file, small = work / "made.json", tokenizer()
    small.save(str(file))
    for name in ("tsa", "provider"):
        (work / name).mkdir()
    with TSAServer(Authority(work / "tsa")) as tsa:
        provider = Provider(work / "provider", tsa, small, file)
        provider.closed("innocent", marked=False)
        provider.closed("rival", marked=True, evidence=("--control", provider.file("innocent.json")))
        provider.pairs()
        provider.twin("twin")
        policy = provider.policy(released=RELEASED, required=("plan", "keys", "measured", "decision"))
        for name, (evidence, key, inputs) in CASES.items():
            folder = out / name
            (folder / "inputs").mkdir(parents=True)
            shutil.copyfile(provider.file(evidence), folder / "evidence.json")
            shutil.copyfile(policy, folder / "policy.json")
            shutil.copy(provider.file(f"{key}.key"), folder / KEY)
            for input_ in inputs:
                shutil.copyfile(provider.file(input_), folder / "inputs" / input_)
            found = json.loads(run(*command(folder)))
            assert found["accepted"]
            expected = {step["id"]: step["outcome"] for step in found["steps"]}
            (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def command(folder: Path) -> tuple[object, ...]:
    """`radiolabel check` of a case."""
    given = ("--inputs", folder / "inputs", "--key", folder / KEY, "--format", "json")
    return ("check", folder / "evidence.json", "--policy", folder / "policy.json", *given)


if __name__ == "__main__":
    os.environ["NO_PROXY"] = "127.0.0.1"
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(sys.argv[1]), Path(scratch))
