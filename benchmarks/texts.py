"""Real text that nobody here generated, and hard texts made from it."""

from __future__ import annotations

from functools import cache
from pydoc_data.topics import topics

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from verify.distinct import Pairs
from verify.scoring import merge, summarize
from watermark.windows import Ids, TokenBatch

HIGH_IDS = 70_000  # added to every id, so that all lie above 65,536
KINDS = ("prose", "phrase", "identical", "high ids")


@cache
def prose_ids(vocabulary: int = 4096) -> Ids:
    """The Python language reference as ids of a BPE trained on it: about 150,000."""
    texts = [topics[name] for name in sorted(topics)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return np.concatenate([e.ids for e in tokenizer.encode_batch(texts)]).astype(np.uint32)


def corpora(kind: str, width: int, *, length: int, count: int) -> list[Pairs]:
    """Distinct pairs of `count` corpora of one kind, each cut from another place of the prose.

    Args:
        kind: `prose`, `phrase` (60 tokens, a thousand times over), `identical` (100 equal documents) or `high ids`.
        width: h.
        length: tokens per document.
        count: corpora.
    """
    ids = prose_ids()
    starts = np.linspace(0, ids.size - length, count).astype(int)
    made = []
    for start in starts:
        text = ids[start : start + length]
        if kind == "phrase":
            documents = [np.tile(text[:60], 1000)]
        elif kind == "identical":
            documents = [text] * 100
        else:
            documents = [text + np.uint32(HIGH_IDS)] if kind == "high ids" else [text]
        made.append(merge([summarize(TokenBatch.from_documents([d]), width) for d in documents], width).pairs)
    return made
