"""The result of a test by a linear form: of a model's predictions, or of answers with a reference model.

How the numbers are valid: `verify.hypotheses.open` and `verify.hypotheses.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from verify import linear
from verify.errors import Refused
from verify.finding import INTERVAL_LEVEL, MIN_SCORED, POWER, log10_sum, p_value, upper
from verify.hypotheses import counted, open, reference
from verify.linear import LinearForm
from verify.measured import FORM_BINS, Form, MeasuredForm
from verify.planned import plan_sentence
from verify.tested import Tested
from watermark import __version__
from watermark.keys import ValueKey
from watermark.prf import PRF_ID

_AES: Final = (
    "AES-128 cannot be told from a random permutation: the numbers are for an ideal function, and the true "
    "probability is at most p plus q^2 / 2^129 for q terms, plus AES's distinguishing advantage"
)
_ONE_TEST: Final = "this is the one test of this key on this model; for several, correct for all that were looked at"
_CHOSEN: Final = "texts, prompts, places and candidates were chosen without looking at the key or at scores under it"
_SERVED: Final = (
    "texts are in the order in which they were served; which texts, places and candidates are here was decided "
    "without the key's values and without looking at how an answer goes on"
)
_PROMPTS: Final = "no prompt held marked text"
_IDS: Final = "nobody who had the key chose how texts are split into token ids, cut or ordered"
_REFERENCE: Final = "the reference model does not depend on the key"


@dataclass(frozen=True)
class LinearFinding:
    """One key tested on one model.

    Attributes:
        test: `open`, or `closed` with a reference or with counts.
        suspect, reference_model, tokenizer: as the records name them.
        served: whether the texts were served under keys: then the e-value decides.
        rule: how coefficients follow from predictions.
        n_texts: texts read.
        n_positions: positions with a record.
        n_dropped: positions not scored, by reason.
        n_scored: distinct windows scored.
        n_terms: coefficients that are not zero.
        log10_p: an upper bound of P(a sum at least this high) under H0: Chernoff's, or 1/e for served text.
        log10_e: of the mixture e-value.
        log10_p_estimate: saddle point estimate, no bound; None for served text, where none is known.
        z: the sum in standard deviations, for orientation.
        excess: mean centred score per window, in the scheme's natural unit: for `difference`, how much more score the
            suspect expects than the reference.
        excess_interval: 95 % interval of it, normal approximation from the null variance.
        smallest_excess: an excess that would have been found with probability 0.95 at `alpha`, normal approximation.
        alpha: the threshold.
        scheme, width, key_id, channel, key_path, prf: what was tested.
        options: every choice that can move the number, and input digests.
        version: of radiolabel.
    """

    test: str
    suspect: str
    reference_model: str | None
    tokenizer: str
    served: bool
    rule: str
    n_texts: int
    n_positions: int
    n_dropped: dict[str, int]
    n_scored: int
    n_terms: int
    log10_p: float
    log10_e: float
    log10_p_estimate: float | None
    z: float
    excess: float
    excess_interval: tuple[float, float]
    smallest_excess: float
    alpha: float
    scheme: str
    width: int
    key_id: str
    channel: str
    key_path: str
    prf: str
    options: dict[str, Any]
    version: str

    @property
    def found(self) -> bool:
        """Whether p is at most alpha; for served text p is 1/e."""
        return self.log10_p <= log10(self.alpha)

    @property
    def log10_p_stated(self) -> float:
        """log10 p with what separates a cipher from a random function: what a sentence may claim."""
        return log10_sum(self.log10_p, 2 * log10(self.n_terms) - 129 * log10(2), -128 * log10(2))

    @property
    def sentence(self) -> str:
        """What this means, in words: a statement about the data, never about guilt."""
        return self._answer + plan_sentence(self.options)

    @property
    def _answer(self) -> str:
        what = "predictions" if self.test == "open" else "answers"
        if self.found:
            return (
                f"The mark of key {self.key_path} was found in the {what} of {self.suspect}. Those of a model that "
                f"never saw text made with this key would lean this far towards it with probability at most "
                f"10^{upper(self.log10_p_stated)} (threshold {self.alpha:g})."
            )
        return (
            f"The mark of key {self.key_path} was not found in the {what} of {self.suspect} "
            f"(p = {p_value(self.log10_p)}, threshold {self.alpha:g}). With this much data an excess of "
            f"{self.smallest_excess:.4f} per window would have been found 95 % of the time. "
            f"Not found does not mean not there."
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on."""
        chosen = _SERVED if self.served else _CHOSEN
        prompts = () if self.options.get("prompt_windows") == "count" and self._checks_prompts else (_PROMPTS,)
        reference = (_REFERENCE,) if self.reference_model is not None else ()
        return (chosen, _IDS, *prompts, *reference, _ONE_TEST, _AES)

    @property
    def _checks_prompts(self) -> bool:
        return self.served or self.test == "closed"

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        return vars(self) | {
            "excess_interval": list(self.excess_interval),
            "found": self.found,
            "log10_p_stated": self.log10_p_stated,
            "sentence": self.sentence,
            "assumptions": list(self.assumptions),
        }


def find(scored: open.Scored, key: ValueKey, *, alpha: float, options: dict[str, Any]) -> LinearFinding:
    """Turn scored predictions into a Finding: `measure`, then `conclude`."""
    return conclude(measure(scored), Tested.of(key), alpha=alpha, options=options)


def measure(scored: open.Scored) -> MeasuredForm:
    """What takes the predictions and the key."""
    form = scored.form
    own = ("rule", "suspect", "tokenizer", "reference_model", "served", "n_texts", "n_positions", "n_dropped")
    return MeasuredForm(
        form=Form(
            n_windows=form.n_windows,
            n_terms=form.n_terms,
            total=str(form.total),
            sum_coefficients=str(form.sum_coefficients),
            sum_squares=str(form.sum_squares),
            positive=_sparse(form.positive),
            negative=_sparse(form.negative),
        ),
        n_ends=scored.n_ends,
        n_cut=scored.n_cut,
        **{name: getattr(scored, name) for name in own},
    )


def conclude(measured: MeasuredForm, key: Tested, *, alpha: float, options: dict[str, Any]) -> LinearFinding:
    """What follows from a measurement, by arithmetic alone.

    Raises:
        Refused: fewer than `MIN_SCORED` windows, or served texts without the places where they ended.
    """
    if measured.n_cut and not measured.n_ends:
        raise Refused(
            "no served text has a record after its last token, and whether a text goes on depends on the key",
            hint="probe the texts again with --served",
        )
    form, law, n = _form(measured.form), key.scheme.law, measured.form.n_windows
    if n < MIN_SCORED or form.n_terms == 0:
        raise Refused(
            f"only {n} of {measured.n_positions} positions can be scored for channel {key.channel}, "
            f"and fewer than {MIN_SCORED} say nothing",
            hint="probe more texts",
        )
    log10_e, deviation = linear.log10_e(law, form), linear.standard_deviation(law, form)
    excess = linear.centred_sum(law, form) / n
    half = float(ndtri(0.5 + INTERVAL_LEVEL / 2)) * deviation / n
    smallest = linear.detectable(law, form, log10(alpha), mixture=measured.served) + float(ndtri(POWER)) * deviation
    return LinearFinding(
        test="closed" if measured.rule in (reference.RULE, counted.RULE) else "open",
        suspect=measured.suspect,
        reference_model=measured.reference_model,
        tokenizer=measured.tokenizer,
        served=measured.served,
        rule=measured.rule,
        n_texts=measured.n_texts,
        n_positions=measured.n_positions,
        n_dropped=measured.n_dropped,
        n_scored=n,
        n_terms=form.n_terms,
        log10_p=-max(log10_e, 0.0) + 0.0 if measured.served else linear.log10_p(law, form),
        log10_e=log10_e,
        log10_p_estimate=None if measured.served else linear.log10_p_estimate(law, form),
        z=linear.z(law, form),
        excess=excess,
        excess_interval=(excess - half, excess + half),
        smallest_excess=smallest / n,
        alpha=alpha,
        scheme=key.scheme.spec,
        width=key.width,
        key_id=key.id,
        channel=key.channel,
        key_path=key.path,
        prf=PRF_ID,
        options=options,
        version=__version__,
    )


def _sparse(histogram: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    at = np.flatnonzero(histogram)
    return tuple(zip(at.tolist(), histogram[at].tolist(), strict=True))


def _dense(bins: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    histogram = np.zeros(FORM_BINS, dtype=np.int64)
    for at, n in bins:
        histogram[at] = n
    return histogram


def _form(form: Form) -> LinearForm:
    return LinearForm(
        n_windows=form.n_windows,
        n_terms=form.n_terms,
        total=int(form.total),
        sum_coefficients=int(form.sum_coefficients),
        sum_squares=int(form.sum_squares),
        positive=_dense(form.positive),
        negative=_dense(form.negative),
    )
