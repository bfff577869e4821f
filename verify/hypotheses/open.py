"""The open test: the suspect's next-token probabilities, with or without a reference model.

Symbols: c a place in a text, w its window, v a candidate token, p and q next-token probabilities under the suspect and
the reference, a = a(p, q) a coefficient in [-1, 1], s(w, v) the keyed score, mu its mean, K(x) = ln E exp(x (s - mu)).

Statistic: S = sum over windows of sum_v a(v|c) (s(w, v) - mu), each window once.
H0: the suspect and the reference do not depend on the key, except through what they are shown in the prompt.

Two kinds of text, and why each number is valid:

* Chosen without the key (public text, the suspect's own text). Places, candidates and coefficients do not depend on
  the key, and the windows are distinct: the scores are independent with the scheme's law. `log10_p` is the Chernoff
  bound, `log10_e` a mixture.
* Served by the provider's sampler. The text depends on the key, because a served window leads to the next. In serving
  order, at the *first* visit of a window, its scores are independent of everything before: text, candidates and
  coefficients at that prefix are functions of other windows' scores and of independent randomness. So
  exp(theta S - sum K(theta a)) is a martingale, `log10_e` its mixture, and p is at most 1/e. A fixed-sample bound is
  not valid there, nor are later visits: they know what the first one led to.
  A window also counts as visited where the text goes on without a record, and where it stood in a prompt.
  The place after the last token is one of them: whether the text went on was drawn there, under the key. A test that
  leaves these places out looks only where no end was drawn, and a model that ends less often than the teacher then
  seems to know the key.

A coefficient rule sees p and q at its place, nothing else: neither the key, nor how the answer ends, nor counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.errors import InputError, Refused, quoted
from verify.linear import Floats, LinearForm, fixed_point
from verify.predictions import Logs, Prediction
from verify.visits import Visits
from watermark.channels import CHANNELS, select
from watermark.keys import ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf, pack_blocks
from watermark.windows import Ids, Keys, window_keys

Rule = Callable[[Logs, Logs], Floats]
CHUNK_TERMS: Final = 2 * CHUNK_BLOCKS  # candidates at once: their temporaries fit the second-level cache
FLOOR: Final = np.float32(-50.0)  # ln of a probability that no sampler draws


def _probabilities(logs: Logs | Floats) -> Floats:
    # In double precision machines disagree about one rounding to 2^-20 in 10^9.
    found: Floats = np.exp(logs.astype(np.float64))
    return found


def difference(log_p: Logs, log_q: Logs) -> Floats:
    """p - q."""
    return _probabilities(log_p) - _probabilities(log_q)


def root(log_p: Logs, log_q: Logs) -> Floats:
    """sqrt p - sqrt q: the differences of unlikely tokens count more (`docs/lab.md` compares the rules)."""
    found: Floats = np.exp(log_p.astype(np.float64) / 2) - np.exp(log_q.astype(np.float64) / 2)
    return found


def soft(log_p: Logs, log_q: Logs) -> Floats:
    """p: no reference."""
    return _probabilities(log_p)


def top1(log_p: Logs, log_q: Logs) -> Floats:
    """1 for the likeliest candidate, the first of equals, which has the smallest id: no reference."""
    out: Floats = np.zeros(log_p.shape)
    out[np.arange(len(out)), log_p.argmax(axis=1)] = 1
    return out


def hellinger(log_p: Logs, log_q: Logs) -> Floats:
    """sqrt(p q) - q."""
    return _probabilities((log_p.astype(np.float64) + log_q) / 2) - _probabilities(log_q)


def log_ratio(log_p: Logs, log_q: Logs) -> Floats:
    """q (ln p - ln q), within [-1, 1]."""
    ratio = np.maximum(log_p, FLOOR).astype(np.float64) - np.maximum(log_q, FLOOR)
    return np.clip(_probabilities(log_q) * ratio, -1.0, 1.0)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {"difference": difference, "root": root, "soft": soft, "top1": top1, "hellinger": hellinger, "log-ratio": log_ratio}
)
WITHOUT_REFERENCE: Final = frozenset({"soft", "top1"})


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions scored under one key.

    Attributes:
        form: the linear form; `form.n_windows` is the windows scored.
        served: which of the two kinds of text it was.
        n_texts: texts read.
        n_positions: positions with a record; each is scored or dropped for one reason.
        n_dropped: positions dropped, by reason: `first_h` (no window yet), `visited` (not the window's first visit),
            `in_prompt` (the window stood in a prompt), `other_channel` (another key's window).
        rule: the coefficient rule.
        tokenizer: its digest.
        suspect: the model tested.
        reference_model: the reference, or None if the rule uses none.
        n_ends: served texts with a record after their last token.
        n_cut: served texts whose last record is at their last token.
    """

    form: LinearForm
    served: bool
    n_texts: int
    n_positions: int
    n_dropped: dict[str, int]
    rule: str
    tokenizer: str
    suspect: str
    reference_model: str | None
    n_ends: int = 0
    n_cut: int = 0


def score_predictions(
    predictions: Iterable[Prediction],
    key: ValueKey,
    *,
    rule: str | None = None,
    prompt_windows: bool = True,
    progress: Callable[[int], object] = lambda n: None,
) -> Scored:
    """Score texts in order, in memory for one text and 8 bytes per distinct window.

    Args:
        predictions: texts, in serving order if they were served.
        key: the key.
        rule: one of `RULES`; if None, `root` if the first text has a reference, else `soft`.
        prompt_windows: count windows of prompts as visited. Without it the result holds if no prompt had marked text.
        progress: called with the positions of each text.

    Raises:
        InputError: no text, a text without what the rule needs, or an unknown rule.
        Refused: served and other texts, or two suspects, in one file.
    """
    width, first = key.deployment.width, None
    visits, prompts = Visits(), Visits()
    form, dropped = LinearForm.empty(), dict.fromkeys(("first_h", "visited", "in_prompt", "other_channel"), 0)
    n_texts = n_positions = n_ends = n_cut = 0
    for text in predictions:
        first = first or text
        rule = rule or ("soft" if text.log_q is None else "root")
        check(text, first, rule)
        at = text.at[text.at >= width]
        dropped["first_h"] += len(text.at) - len(at)
        if text.served:
            if prompt_windows:
                prompts.visit(windows_of(text.prompt_ids, width))
            # Every position is a visit, recorded or not.
            new = np.flatnonzero(visits.visit(windows_of(text.token_ids, width, end=True))) + width
            fresh = np.isin(at, new, assume_unique=True)
            shown = fresh & prompts.seen(window_keys(text.token_ids, at, width))
            last = text.at[-1:] - len(text.token_ids)
            n_ends += int(np.count_nonzero(last == 0))
            n_cut += int(np.count_nonzero(last == -1))
        else:
            fresh = visits.visit(window_keys(text.token_ids, at, width))
            shown = np.zeros_like(fresh)
        dropped["visited"] += int(np.count_nonzero(~fresh))
        dropped["in_prompt"] += int(np.count_nonzero(shown))
        at = at[fresh & ~shown]
        windows = text.token_ids[at[:, None] + np.arange(-width, 0)]
        own = in_channel(windows, key)
        dropped["other_channel"] += int(np.count_nonzero(~own))
        rows = np.searchsorted(text.at, at[own])
        form += _score_rows(text.ascending(), rows, windows[own], RULES[rule], key)
        n_texts += 1
        n_positions += len(text.at)
        progress(len(text.at))
    if first is None or rule is None:
        raise InputError("no prediction, expected at least one")
    reference = None if rule in WITHOUT_REFERENCE else first.reference_model
    return Scored(
        form=form,
        served=first.served,
        n_texts=n_texts,
        n_positions=n_positions,
        n_dropped=dropped,
        rule=rule,
        tokenizer=first.tokenizer,
        suspect=first.suspect,
        reference_model=reference,
        n_ends=n_ends,
        n_cut=n_cut,
    )


def check(text: Prediction, first: Prediction, rule: str) -> None:
    """Refuse a text that does not go with the first, or that lacks what the rule needs."""
    name = f"prediction {quoted(text.id)}"
    if rule not in RULES:
        raise InputError(f"rule is {quoted(rule)}, expected one of {', '.join(RULES)}")
    if text.log_p is None:
        raise InputError(f"{name}: without log_p, expected the suspect's predictions")
    if text.log_q is None and rule not in WITHOUT_REFERENCE:
        raise InputError(
            f"{name}: without log_q, and rule {rule} needs a reference",
            hint=f"probe with a reference model, or use --rule {' or '.join(sorted(WITHOUT_REFERENCE))}",
        )
    for field in ("served", "suspect", "reference_model"):
        value, expected = getattr(text, field), getattr(first, field)
        if value != expected:
            raise Refused(
                f"{name}: {field} is {quoted(value)}, expected {quoted(expected)} as in the first",
                hint="test one kind of text and one pair of models at a time",
            )


def score_windows(windows: Ids, candidates: Ids, coefficients: Floats, key: ValueKey) -> LinearForm:
    """The linear form of some windows under one key.

    Args:
        windows: (n, h) uint32, distinct, of the key's channel (`in_channel`).
        candidates: (n, k) uint32, distinct in a row.
        coefficients: (n, k) in [-1, 1], chosen without the key.
        key: the key.
    """
    fixed = fixed_point(coefficients)
    keep = fixed != 0
    repeats = np.count_nonzero(keep, axis=1)
    blocks = np.repeat(pack_blocks(windows, None), repeats, axis=0)
    blocks[:, key.deployment.width] = candidates[keep]  # packing every term by itself would take twice as long
    scores = key.deployment.scheme.score(Prf(key.value).words(blocks))
    return LinearForm.of(fixed[keep], scores, n_windows=len(windows))


def in_channel(windows: Ids, key: ValueKey) -> NDArray[np.bool_]:
    """Which of (n, h) windows belong to the key's channel: (n,) bool."""
    shares, own = key.deployment.shares, CHANNELS.index(key.channel)
    if shares.ppm[own] == sum(shares.ppm):
        return np.ones(len(windows), dtype=bool)
    mine: NDArray[np.bool_] = select(Prf(key.selector), shares, windows) == own
    return mine


def windows_of(ids: Ids, width: int, *, end: bool = False) -> Keys:
    """The windows of all positions t >= h of one text, with `end` also of T: (max(T - h + end, 0),) uint64."""
    return window_keys(ids, np.arange(width, len(ids) + end), width)


def _score_rows(text: Prediction, rows: NDArray[np.intp], windows: Ids, rule: Rule, key: ValueKey) -> LinearForm:
    form, step = LinearForm.empty(), max(CHUNK_TERMS // text.candidates.shape[1], 1)
    assert text.log_p is not None
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        log_p = text.log_p[chosen]
        coefficients = rule(log_p, log_p if text.log_q is None else text.log_q[chosen])
        form += score_windows(windows[start : start + step], text.candidates[chosen], coefficients, key)
    return form
