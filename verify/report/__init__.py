"""The report that a judge reads on page one and an expert after it, made of one evidence file.

`source` reads the file, `view` says everything in it, and `html`, `markdown` and `to_json` only lay that out.
"""

from __future__ import annotations

import json
from typing import Final, Literal

import msgspec

from verify.report.document import View

Format = Literal["html", "md", "json"]
FORMATS: Final = ("html", "md", "json")


def render(view: View, form: Format) -> str:
    """A report as the text of a file.

    Raises:
        InputError: a package that HTML needs is not installed.
    """
    if form == "html":
        from verify.report.html import html

        return html(view)
    if form == "md":
        from verify.report.markdown import markdown

        return markdown(view)
    return json.dumps(msgspec.to_builtins(view), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
