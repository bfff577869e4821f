"""A report as one HTML file that opens without a network: no script, no address, readable without its style."""

from __future__ import annotations

import re
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Final

from verify.errors import InputError
from verify.report.document import Figure, View, plotted
from verify.report.drawing import svg

if TYPE_CHECKING:
    from markupsafe import Markup

_POWER: Final = re.compile(r"10\^(-?[0-9]+(?:\.[0-9]+)?)")


def html(view: View) -> str:
    """The whole file.

    Raises:
        InputError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup, escape
    except ModuleNotFoundError:
        raise InputError("the package jinja2 is not installed", hint="pip install radiolabel[report]") from None
    numbers = count(1)

    def drawn(figure: Figure) -> Markup:
        return Markup(svg(figure, next(numbers)))  # noqa: S704  # matplotlib escapes text, and draws it as paths

    def powers(text: str) -> Markup:
        return Markup(_POWER.sub(r'<span class="power">10<sup>\1</sup></span>', str(escape(text))))  # noqa: S704

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"svg": drawn, "powers": powers, "plotted": plotted}
    folder = resources.files("verify.report")
    template, style = ((folder / name).read_text("utf-8") for name in ("page.jinja", "page.css"))
    return environment.from_string(template).render(view=view, style=Markup(style)) + "\n"  # noqa: S704  # ours
