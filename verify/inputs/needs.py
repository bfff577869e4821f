"""Packages that only this part of the program needs, and errors without them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from verify.errors import InputError

EXTRAS: Final = {"pyarrow": "arrow", "fsspec": "arrow", "pyspark": "spark", "ray": "ray"}


def require(*packages: str) -> None:
    """Raise where a package is not installed.

    Raises:
        InputError: with the extra that installs it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise InputError(
                f"the package {package} is not installed, and this input or runner needs it",
                hint=f"pip install 'radiolabel[{EXTRAS[package]}]'",
            )
