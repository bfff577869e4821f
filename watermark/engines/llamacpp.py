"""The mark in llama.cpp through llama-cpp-python (0.3.36): the binding's own sampler chain, its last draw keyed.

    with marked(llama, Sampler(epoch), Request("r1")) as answers:
        llama.create_chat_completion(messages, temperature=0.8)
    answers[0].counts

The binding's `logits_processor` comes before grammar, truncation and temperature, so the mark cannot be one. Here the
chain that the binding built stays as it is (processors, penalties, grammar, top-k, typical, top-p, min-p, temperature)
and only its last link is replaced: `dist`, which draws, by the keyed draw. A chain that ends in `greedy` has nothing to
mark and is counted; mirostat draws by itself and is refused.

Every token that the chain draws is in the answer, also with a draft model: the binding verifies a draft by drawing,
position by position, until the draft differs. So the answer is the same with and without it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from watermark.candidates import Row
from watermark.errors import Error
from watermark.sampling import Request, Response, Sampler

_CANDIDATE: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class KeyedChain:
    """A sampler chain whose last link is the keyed draw. Rows of a batch have one each.

    Args:
        chain: the binding's `LlamaSampler`, ending in `dist` or `greedy`; this object takes it over.
        sampler: the epoch's sampler.
        response: the answer to draw.
        vocabulary: V.

    Raises:
        Error: the chain ends in a sampler of another kind.
    """

    def __init__(self, chain: Any, sampler: Sampler, response: Response, *, vocabulary: int) -> None:
        self.response = response
        self._chain = chain
        self._sampler = sampler
        self._vocabulary = vocabulary
        self._drawn: tuple[int, str] | None = None
        self._failure: BaseException | None = None
        last = llama_cpp.llama_sampler_chain_n(chain.sampler) - 1
        name = llama_cpp.llama_sampler_name(llama_cpp.llama_sampler_chain_get(chain.sampler, last)).decode()
        self.greedy = name == "greedy"
        if name == "dist":
            llama_cpp.llama_sampler_free(llama_cpp.llama_sampler_chain_remove(chain.sampler, last))
            chain.add_custom(self._apply)
        elif not self.greedy:
            raise Error(
                f"the sampler chain ends in {name[:40]!r}, which draws the token itself",
                hint="mirostat cannot be marked: sample with a temperature, top_k, top_p, min_p or typical_p",
            )

    def sample(self, ctx: Any, idx: int = -1) -> int:
        """Draw and record the next token, as `LlamaSampler.sample` does.

        Args:
            ctx: the binding's `LlamaContext`, after a decode.
            idx: of the output in the batch; negative counts from the end.

        Raises:
            Error: the logits hold NaN, +inf or no candidate, for instance under a grammar that allows no token.
        """
        self._drawn = (-1, "greedy") if self.greedy else None
        token = int(self._chain.sample(ctx, idx))
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._drawn is None or self._drawn[0] not in (-1, token):
            raise Error(f"token {token} was taken where {self._drawn} was drawn", hint="nothing may follow the draw")
        self.response.take(token, self._drawn[1])
        return token

    def _apply(self, array: Any) -> None:
        """The last link: select one of the candidates. An exception must not cross the C frames above."""
        array.contents.selected = 0
        try:
            size = array.contents.size
            candidates = np.frombuffer(ctypes.string_at(array.contents.data, size * _CANDIDATE.itemsize), _CANDIDATE)
            ids, logits = candidates["id"], candidates["logit"]
            (self._drawn,) = self._sampler.propose_rows([self.response], [self._row(ids, logits)])
            array.contents.selected = int(np.flatnonzero(ids == self._drawn[0])[0])
        except BaseException as failure:  # raised again by `sample`
            self._failure = failure

    def _row(self, ids: NDArray[np.int32], logits: NDArray[np.float32]) -> Row:
        """The candidates as the sampler takes them, by ascending id; a grammar leaves -inf where it removes."""
        if len(ids) < self._vocabulary:
            order = np.flatnonzero(logits != -np.inf)
            order = order[np.argsort(ids[order])]
            return Row(logits[order], ids[order].astype(np.uint32), len(order))
        whole = np.empty_like(logits)
        whole[ids] = logits
        return Row.find(whole)


class _NoChain:
    """In place of a chain outside `generate`, where every token would begin an answer of its own, unmarked."""

    def sample(self, ctx: Any, idx: int = -1) -> int:
        raise Error("Llama.sample was called outside Llama.generate", hint="use generate, or a KeyedChain of your own")


def keyed_chain(llama: Any, sampler: Sampler, request: Request, **options: Any) -> KeyedChain:
    """A chain for one row of a batch that the caller decodes.

    Args:
        llama: the binding's `Llama`.
        sampler: the epoch's sampler.
        request: whom the row answers.
        **options: as `Llama.sample` takes them, such as `temp` and `top_p`.
    """
    return KeyedChain(llama._init_sampler(**options), sampler, sampler.start(request), vocabulary=llama.n_vocab())


@contextmanager
def marked(llama: Any, sampler: Sampler, request: Request) -> Iterator[list[Response]]:
    """Mark what `llama` generates inside: completions, chat completions, streams.

    A `Llama` serves one caller at a time; so does this.

    Args:
        llama: the binding's `Llama`.
        sampler: the epoch's sampler.
        request: whom the answer is for. The k-th call of `generate` inside (some chat handlers make several for
            one answer with tools) has the request id with `.k` appended, from the second on.

    Yields:
        The answers drawn so far, one per call of `generate`.

    Raises:
        Error: `llama` is marked already, or nothing was drawn inside.
    """
    if "_init_sampler" in vars(llama):
        raise Error("this Llama is marked already", hint="one request at a time")
    answers: list[Response] = []
    build, before = llama._init_sampler, llama._sampler

    def init_sampler(*args: Any, **options: Any) -> KeyedChain:
        mine = replace(request, id=f"{request.id}.{len(answers)}") if answers else request
        chain = KeyedChain(build(*args, **options), sampler, sampler.start(mine), vocabulary=llama.n_vocab())
        answers.append(chain.response)
        return chain

    outside = _NoChain()
    llama._init_sampler, llama._sampler = init_sampler, outside
    try:
        yield answers
    finally:
        del llama._init_sampler
        if llama._sampler is outside:
            llama._sampler = before
    if not answers:
        raise Error("nothing was generated while the model was marked", hint="read a stream inside the with block")
