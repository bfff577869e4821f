"""When two numbers of an evidence file are the same. Normative text: docs/spec/evidence.md, section 9."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Any, Final

from verify.measured import FORM_BINS, Form, Measured, MeasuredForm, to_fields

ABSOLUTE: Final = 1.000001e-6  # one unit of the last decimal
RELATIVE: Final = 1e-9
_BINS_OF_A_UNIT: Final = 64  # from 1 to 2 units is an octave, of 64 bins; among larger coefficients it is less


def difference(stated: Any, found: Any, where: str) -> str | None:
    """Where two JSON values first differ, or None if they are equal."""
    if isinstance(stated, dict) and isinstance(found, dict):
        if stated.keys() != found.keys():
            return f"{where}: other fields"
        parts = ((stated[k], found[k], f"{where}.{k}") for k in sorted(stated))
    elif isinstance(stated, list) and isinstance(found, list):
        if len(stated) != len(found):
            return f"{where}: {len(stated)} entries, and {len(found)} follow"
        parts = ((a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(stated, found, strict=True)))
    elif _number(stated) and _number(found) and not (type(stated) is type(found) is int):
        same = abs(stated - found) <= ABSOLUTE + RELATIVE * abs(found)
        return None if same else f"{where}: {stated!r}, and {found!r} follows"
    else:
        same = type(stated) is type(found) and stated == found
        return None if same else f"{where}: {_short(stated)}, and {_short(found)} follows"
    return next((d for part in parts if (d := difference(*part)) is not None), None)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def measurements(stated: Measured, found: Measured) -> str | None:
    """Where two measurements differ; a linear form may be that of another machine, see `_forms`."""
    a, b = to_fields(stated), to_fields(found)
    if isinstance(stated, MeasuredForm) and isinstance(found, MeasuredForm):
        del a["form"], b["form"]
        return difference(a, b, "measured") or _forms(stated.form, found.form)
    return difference(a, b, "measured")


def _forms(stated: Form, found: Form) -> str | None:
    """Machines disagree about the last digit of an exponential, and one in 10^9 coefficients is rounded otherwise.

    So k coefficients may differ by one unit of 2^-20, and no window.
    """
    k = 1 + stated.n_terms // 10**8
    if stated.n_windows != found.n_windows:
        return f"measured.form.n_windows: {stated.n_windows}, and {found.n_windows} follows"
    allowed = {"n_terms": k, "total": k << 31, "sum_coefficients": k, "sum_squares": k << 21}
    for name, most in allowed.items():
        a, b = int(getattr(stated, name)), int(getattr(found, name))
        if abs(a - b) > most:
            return f"measured.form.{name}: {a}, and {b} follows"
    for name in ("positive", "negative"):
        counts = Counter(dict(getattr(stated, name)))
        counts.subtract(Counter(dict(getattr(found, name))))
        # One unit moves a coefficient to the next bin: in sums from the largest down that is one, once.
        sums = accumulate(counts[bin_] for bin_ in range(FORM_BINS - 1, -1, -1))
        if sum(map(abs, sums)) > k * _BINS_OF_A_UNIT:
            return f"measured.form.{name}: another histogram follows"
    return None
