"""The two tasks of `radiolabel probe`: which records a file becomes, and how far an interrupted run came."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, final

import msgspec

from verify.errors import InputError, Refused, quoted
from verify.inputs.lines import read_transcripts
from verify.inputs.streams import display_name
from verify.pairs import Likelihood, Pair, read_pairs
from verify.predictions import Prediction
from verify.records import Transcript
from watermark.channels import CHANNELS

if TYPE_CHECKING:
    from watermark.engines.models import LanguageModel


Item = TypeVar("Item")
KEYED: Final = frozenset(CHANNELS) - {"leaf"}
TEXT_HINT: Final = "for another tokenizer score texts with --pairs"


class Head(msgspec.Struct, frozen=True):
    """What of a record follows from the input and the options, without a model.

    Attributes:
        id: of the record.
        suspect: names the suspect.
        reference_model: names the reference.
        digests: of a pair's members.
        served: of a transcript.
        tokenizer: of a transcript.
    """

    id: str
    suspect: str
    reference_model: str | None = None
    digests: tuple[str, ...] | None = None
    served: bool | None = None
    tokenizer: str | None = None


class Task(ABC, Generic[Item]):
    """An input file, and the records that models make of it, one for one and in its order."""

    unit: ClassVar[str]

    @abstractmethod
    def items(self) -> Iterator[tuple[Head, Item]]:
        """The checked items of the input."""

    @abstractmethod
    def check_models(self, models: Sequence[LanguageModel]) -> None:
        """Refuse models that do not go with the input.

        Args:
            models: the suspect, and the reference if there is one.
        """

    @abstractmethod
    def lines(
        self, models: Sequence[LanguageModel], items: Sequence[tuple[Head, Item]], batch_size: int
    ) -> Iterator[bytes]:
        """One record per item, in order."""


def written(path: str, task: Task[Any]) -> tuple[int, int]:
    """How many records of an interrupted run are complete, and how many bytes they are.

    Raises:
        Refused: a record is not what this run would have written in its place.
    """
    decoder = msgspec.json.Decoder(Head)
    done = size = 0
    items = task.items()
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            expected = next(items, None)
            try:
                found = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                found = None
            if expected is None or found != expected[0]:
                raise Refused(
                    f"{display_name(path)}:{done + 1}: not the record that this input and these options give there",
                    hint="--resume continues the same command; choose another output, or give --force to start again",
                )
            done, size = done + 1, size + len(line)
    return done, size


@final
class PairsTask(Task[Pair]):
    """Pairs to likelihoods. Which member was served is never read: the number could not depend on it.

    Args:
        path: the pairs.
        suspect: names the suspect.
        reference: names the reference.
    """

    unit = "pairs"

    def __init__(self, path: str, suspect: str, reference: str | None) -> None:
        self._path, self._suspect, self._reference = path, suspect, reference

    def items(self) -> Iterator[tuple[Head, Pair]]:
        """The pairs."""
        for pair in read_pairs(self._path):
            yield Head(pair.id, self._suspect, self._reference, digests=pair.digests), pair

    def check_models(self, models: Sequence[LanguageModel]) -> None:
        """Any tokenizer will do: texts are scored."""

    def lines(
        self, models: Sequence[LanguageModel], items: Sequence[tuple[Head, Pair]], batch_size: int
    ) -> Iterator[bytes]:
        """One likelihood per pair."""
        from watermark.engines.probing import log_likelihoods

        texts = [(pair.prompt, member.text) for _, pair in items for member in pair.members]
        found = [log_likelihoods(model, texts, batch_size, group=2) for model in models]
        for place, (head, pair) in enumerate(items):
            scores = [column[2 * place : 2 * place + 2] for column in found]
            if pair.members[0].text == pair.members[1].text:  # rounding must not break a tie
                scores = [[first, first] for first, _ in scores]
            (x0, n0), (x1, n1) = scores[0]
            yield Likelihood(
                id=head.id,
                digests=pair.digests,
                tokens=(n0, n1),
                log_likelihood=(x0, x1),
                reference=(scores[1][0][0], scores[1][1][0]) if len(scores) == 2 else None,
                suspect=head.suspect,
                reference_model=head.reference_model,
            ).to_json()


@final
class WindowsTask(Task[tuple[int, Transcript]]):
    """Transcripts to predictions.

    Args:
        path: the transcripts.
        suspect: names the suspect.
        reference: names the reference.
        served: whether the provider's sampler drew the texts.
        begin: the first position to record.
        top_k: candidates per position.
        tokenizer_file: the tokenizer.json of the transcripts, if it is not the suspect's own file.
    """

    unit = "texts"

    def __init__(
        self,
        path: str,
        suspect: str,
        reference: str | None,
        served: bool,
        begin: int,
        top_k: int,
        tokenizer_file: str | None,
    ) -> None:
        self._path, self._suspect, self._reference = path, suspect, reference
        self._served, self._begin, self._top_k = served, begin, top_k
        self._tokenizer_file = tokenizer_file
        self._tokenizer: str | None = None

    def items(self) -> Iterator[tuple[Head, tuple[int, Transcript]]]:
        """Places and transcripts."""
        seen: set[str] = set()
        for ordinal, (where, t) in enumerate(read_transcripts(self._path)):
            if t.token_ids is None or t.tokenizer is None:
                missing = "token_ids" if t.token_ids is None else "tokenizer"
                raise Refused(f"{where}: transcript without {missing}, which --windows needs", hint=TEXT_HINT)
            if not self._served and not KEYED.isdisjoint(t.marked or {}):
                raise Refused(
                    f"{where}: a sampler marked this answer, and in what was served only --served gives a valid number",
                    hint="give --served, with the transcripts in the order in which they were served",
                )
            if t.id in seen:
                raise InputError(f"{where}: id {quoted(t.id)} stands in the file twice, expected distinct ids")
            seen.add(t.id)
            self._tokenizer = self._tokenizer or t.tokenizer
            if t.tokenizer != self._tokenizer:
                raise Refused(
                    f"{where}: tokenizer is {t.tokenizer[:19]}..., expected {self._tokenizer[:19]}... as before",
                    hint="probe the texts of one tokenizer at a time",
                )
            head = Head(t.id, self._suspect, self._reference, served=self._served, tokenizer=t.tokenizer)
            yield head, (ordinal, t)

    def check_models(self, models: Sequence[LanguageModel]) -> None:
        """All must give the transcripts' ids the same tokens."""
        from watermark.engines.probing import same_vocabulary

        suspect, *references = models
        if suspect.digest != self._tokenizer:
            self._check_vocabulary(suspect)
        for reference in references:
            if not same_vocabulary(suspect, reference):
                raise Refused(
                    f"{quoted(reference.name)} has another vocabulary than {quoted(suspect.name)}, and --windows "
                    "compares their predictions token by token",
                    hint=TEXT_HINT,
                )

    def _check_vocabulary(self, suspect: LanguageModel) -> None:
        tokens = str(self._tokenizer)[:19]
        if self._tokenizer_file is None:
            raise Refused(
                f"{display_name(self._path)}: the token ids are of tokenizer {tokens}..., and {quoted(suspect.name)} "
                f"has {suspect.digest[:19]}...",
                hint="if only the file differs, give the provider's with --tokenizer; else " + TEXT_HINT,
            )
        import tokenizers

        from verify.tokenization import Tokenizer

        own = Tokenizer.load(self._tokenizer_file)
        if own.digest != self._tokenizer:
            raise Refused(f"{self._tokenizer_file} is {own.digest[:19]}..., and the token ids are of {tokens}...")
        vocabulary = tokenizers.Tokenizer.from_file(self._tokenizer_file).get_vocab(with_added_tokens=True)
        if vocabulary != suspect.tokenizer.get_vocab():
            raise Refused(f"{quoted(suspect.name)} has another vocabulary than {self._tokenizer_file}", hint=TEXT_HINT)

    def lines(
        self,
        models: Sequence[LanguageModel],
        items: Sequence[tuple[Head, tuple[int, Transcript]]],
        batch_size: int,
    ) -> Iterator[bytes]:
        """One prediction per transcript."""
        import numpy as np

        from watermark.engines.probing import predictions

        texts = [(t.prompt, t.token_ids or ()) for _, (_, t) in items]
        reference = models[1] if len(models) == 2 else None
        found = predictions(
            models[0],
            texts,
            batch_size,
            reference=reference,
            top_k=self._top_k,
            begin=self._begin,
            ends=self._served,  # whether a served text goes on depends on the key
        )
        done: dict[int, bytes] = {}
        for laws in found:
            head, (ordinal, t) = items[laws.index]
            done[laws.index] = Prediction(
                id=head.id,
                ordinal=ordinal,
                served=self._served,
                prompt_ids=laws.prompt_ids,
                token_ids=np.array(t.token_ids, dtype=np.uint32),
                tokenizer=str(t.tokenizer),
                at=laws.at,
                candidates=laws.candidates,
                log_p=laws.log_p,
                log_q=laws.log_q,
                suspect=head.suspect,
                reference_model=head.reference_model,
            ).to_json()
        for place in range(len(items)):
            yield done[place]
