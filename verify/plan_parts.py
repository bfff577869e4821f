"""The parts of a plan: who is tested, how, and when it stops. Normative text: docs/spec/plan.md, section 2."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Long = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
_Left = Literal["endpoint"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a plan."""


class Weights(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="weights"):
    """A suspect with open weights; `digest` is of them."""

    name: Name
    digest: Digest


class Texts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="texts"):
    """A suspect whose outputs were found; `origin` says where."""

    name: Name
    origin: _Long


class Endpoint(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="endpoint"):
    """A suspect that is asked, and how; "endpoint" leaves a setting to it. See `verify.collecting.settings`."""

    name: Name
    base_url: Name
    model: Name
    prompts: Digest
    n_prompts: Positive
    repeat: Positive
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    system: Annotated[str, msgspec.Meta(pattern=r"^(none|sha256:[0-9a-f]{64})\Z")]
    max_tokens: Positive | _Left
    temperature: Annotated[float, msgspec.Meta(ge=0)] | _Left
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | _Left
    logprobs: Count | Literal["none"]

    @property
    def n_questions(self) -> int:
        """Prompts times repeats."""
        return self.n_prompts * self.repeat

    def settings(self) -> dict[str, Any]:
        """As `Settings.to_dict` has them: without what is left to the endpoint."""
        names = ("base_url", "model", "prompts", "system", "max_tokens", "temperature", "top_p", "logprobs")
        found = {name: getattr(self, name) for name in names}
        left = {"system": "none", "logprobs": "none"} | dict.fromkeys(
            ("max_tokens", "temperature", "top_p"), "endpoint"
        )
        return {name: value for name, value in found.items() if value != left.get(name)}


class Fixed(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="fixed"):
    """So many answers, pairs or texts."""

    n: Positive


class EProcess(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="rule", tag="e-process"):
    """As soon as the e-value is enough, at the latest after `budget` answers."""

    budget: Positive


class _Test(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="hypothesis"):
    inputs: ClassVar[tuple[str, ...]] = ()


class Closed(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closed"):
    """`radiolabel verify`."""

    inputs: ClassVar[tuple[str, ...]] = ("input", "prompts", "served")
    tokenizer: Digest
    repeated_windows: Literal["skip", "score"]
    weights: Literal["distinct", "counts"]
    token_ids: bool
    prompts: bool
    served: bool
    input_format: Literal["auto", "text", "jsonl", "openai", "sharegpt"]
    decoys: Count
    stopping: Fixed


class ClosedReference(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closed-reference"):
    """`radiolabel test closed`."""

    inputs: ClassVar[tuple[str, ...]] = ("predictions", "texts")
    tokenizer: Digest
    prompt_windows: Literal["count", "ignore"]
    reference: Name
    stopping: Fixed


class Open(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="open"):
    """`radiolabel test open`."""

    inputs: ClassVar[tuple[str, ...]] = ("predictions", "texts")
    tokenizer: Digest
    prompt_windows: Literal["count", "ignore"]
    reference: Name
    rule: Literal["difference", "root", "soft", "top1", "hellinger", "log-ratio"]
    records: Literal["predictions", "answers"]
    served: bool
    stopping: Fixed


class Twin(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="twin"):
    """`radiolabel test twin`."""

    inputs: ClassVar[tuple[str, ...]] = ("pairs", "likelihoods", "answers")
    scores: Literal["likelihoods", "ngram", "subsequence"]
    coins: Literal["recomputed", "stated"]
    statistic: Literal["sign", "rank"]
    missing: Literal["loss"]  # left out, pairs could be chosen by what they gave
    reference: Name
    stopping: Fixed


class Accounts(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="accounts"):
    """`radiolabel accounts`: every account of the pairs, by its alias.

    Attributes:
        accounts: how many aliases there are; each is a test.
        aliases: root of the sealed file that says who is who.
        fdr: rate of false discoveries at which e-BH names accounts too, or "none".
    """

    inputs: ClassVar[tuple[str, ...]] = ("pairs", "likelihoods", "answers", "groups")
    scores: Literal["likelihoods", "ngram", "subsequence"]
    coins: Literal["recomputed", "stated"]
    missing: Literal["loss"]
    reference: Name
    stopping: Fixed
    accounts: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    aliases: Hex32
    fdr: Annotated[float, msgspec.Meta(gt=0, le=0.5)] | Literal["none"]


class Sequential(_Test, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sequential"):
    """`radiolabel collect --key`."""

    tokenizer: Digest
    stopping: EProcess


SUSPECTS: Final = (Weights, Texts, Endpoint)
TESTS: Final = (Closed, ClosedReference, Open, Twin, Accounts, Sequential)
PAIRED: Final = (Twin, Accounts)  # tests of served answers against their twins, under an epoch's coins
WITHOUT_REFERENCE: Final = ("soft", "top1")  # as `verify.hypotheses.open`; a test compares the two


class PlannedKey(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key by its public id and path."""

    id: Hex32
    path: Name


class Family(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is looked at, and how that is corrected for."""

    tests: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=1 << 16)]
    correction: Literal["none", "holm", "bh", "e-bh"]
