"""Marks that engines embed themselves, scored as they embed them.

Written from the engines' sources, and held to golden vectors that the real packages made (tests/vectors/native).
What each mark's function can carry, and how a p-value follows, is in docs/native.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from watermark.errors import KeyFileError
from watermark.native import greenlist, sglang, synthid, vllm
from watermark.native.configuration import read_configuration
from watermark.native.mark import Mark

AnyMark = Mark[Any]
MARKS: Final[dict[str, type[AnyMark]]] = {
    mark.name: mark for mark in (vllm.Gumbel, vllm.DualKeyGumbel, sglang.Gumbel, synthid.SynthId, greenlist.GreenList)
}


def mark_named(spec: str) -> tuple[type[AnyMark], dict[str, str]]:
    """The mark that a spec such as `vllm-gumbel` or `transformers-greenlist:vocabulary=49152` names.

    Raises:
        KeyFileError: an unknown name, or parameters of another form.
    """
    name, _, tail = spec.partition(":")
    if name not in MARKS:
        raise KeyFileError(f"unknown scheme {name[:60]!r}", hint=f"schemes of engines are {', '.join(MARKS)}")
    parameters: dict[str, str] = {}
    for part in tail.split(",") if tail else []:
        key, equals, value = part.partition("=")
        if not equals or key in parameters:
            raise KeyFileError(f"scheme {spec[:60]!r} is not of the form name:key=value,key=value")
        parameters[key] = value
    return MARKS[name], parameters


def read_mark(spec: str, path: str | Path) -> AnyMark:
    """A mark with its key, from the engine's own configuration file.

    Raises:
        KeyFileError: see `mark_named`; or the file is unreadable, open to others, or not this mark's.
    """
    kind, parameters = mark_named(spec)
    configuration = read_configuration(path)
    try:
        return kind.from_configuration(configuration, parameters)
    except KeyFileError as error:
        raise KeyFileError(f"{path}: {error}", hint=error.hint) from None
