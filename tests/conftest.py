"""Shared fixtures: real prose that ships with Python, a small tokenizer trained on it, and fixed keys."""

from __future__ import annotations

from pydoc_data.topics import topics

import numpy as np
import pytest

from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.secret import Secret


@pytest.fixture(scope="session")
def prose() -> list[str]:
    """Paragraph-sized pieces of the Python language reference."""
    return [topics[name] for name in sorted(topics) if len(topics[name]) > 400]


@pytest.fixture(scope="session")
def small_tokenizer(prose):
    """A byte-level BPE of 4,096 entries, trained here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(prose, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_file(small_tokenizer, tmp_path_factory):
    """Its tokenizer.json."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    small_tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def prose_ids(prose, small_tokenizer) -> np.ndarray:
    """All the prose as ids, end to end: about 150,000 uint32."""
    return np.concatenate([e.ids for e in small_tokenizer.encode_batch(prose)]).astype(np.uint32)


def make_epoch(label: int = 0, **deployment) -> EpochKey:
    """An epoch key that only depends on `label`."""
    secret = np.random.default_rng(label).bytes(32)
    return MasterKey(Secret(secret)).epoch("test", deployment=Deployment.parse(**deployment))
