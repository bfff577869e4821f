from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.errors import KeyFileError
from watermark.prf import Prf, pack_blocks, uniform52
from watermark.schemes import available, parse
from watermark.schemes.gumbel import UNIT, score_table

SPECS = [
    "gumbel",
    "tournament:layers=1",
    "tournament:layers=30",
    "tournament:layers=128",
    "greenlist:delta=2,gamma=0.25",
]


def words(n, label=0):
    windows = np.random.default_rng(label).integers(0, 1 << 20, (n, 2), dtype=np.uint32)
    tokens = np.arange(n, dtype=np.uint32) % (1 << 20)
    return Prf(make_epoch(label).value_key("fleet").value).words(pack_blocks(windows, tokens))


@pytest.mark.parametrize("spec", SPECS)
def test_spec_has_one_spelling_and_round_trips(spec):
    assert parse(spec).spec == spec


def test_defaults_have_full_specs():
    assert [parse(name).spec for name in available()] == [
        "greenlist:delta=2,gamma=0.25",
        "gumbel",
        "tournament:layers=30",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        *("", "kgw", "laws", "__init__", "os", "gumbel:x=1", "tournament:layers=0", "tournament:layers=129"),
        *("tournament:layers=-1", "tournament:layers=²", "tournament:layers", "greenlist:gamma=0", "greenlist:gamma=1"),
        *("greenlist:gamma=1e-3", "greenlist:gamma=nan", "greenlist:delta=101", "greenlist:gamma=0.1,gamma=0.2"),
        *("greenlist:gamma=0.1234567", "greenlist:gamma=.5", "greenlist:beta=1"),
    ],
)
def test_bad_specs_are_refused(spec):
    with pytest.raises(KeyFileError):
        parse(spec)


def test_gumbel_table_is_exact_and_far_from_every_rounding_boundary():
    """Any libm that is right to 1e-6 of an integer score gives the same table."""
    table, closest = score_table(), 1.0
    with mpmath.workdps(40):
        for i in range(1, 1 << 16):
            exact = -UNIT * mpmath.log(1 - mpmath.mpf(i) / (1 << 16))
            assert table[i] == int(mpmath.floor(exact))
            closest = min(closest, abs(float(exact - mpmath.nint(exact))))
    assert table[0] == 0
    assert closest > 1e-6


def test_gumbel_integer_score_never_exceeds_the_continuous_one():
    w = words(100_000)
    assert (parse("gumbel").score(w) / UNIT <= -np.log1p(-uniform52(w[:, 0])) + 1e-12).all()


@pytest.mark.parametrize("spec", SPECS)
def test_scores_have_the_mean_variance_and_mgf_of_their_law(spec):
    scheme = parse(spec)
    law, s = scheme.law, scheme.score(words(400_000)) / scheme.law.unit
    assert abs(s.mean() - law.mean) < 5 * (law.variance / len(s)) ** 0.5 + 2e-4
    assert abs(s.var() / law.variance - 1) < 0.02
    theta = np.array([0.3, -0.5]) / law.variance**0.5
    assert np.log(np.exp(theta[:, None] * s).mean(axis=1)) == pytest.approx(law.log_mgf(theta), abs=0.01)


@pytest.mark.parametrize("spec", SPECS)
def test_score_of_each_pair_is_its_own(spec):
    w = words(1000)
    scheme = parse(spec)
    assert scheme.score(w).tolist() == [int(scheme.score(row[None])[0]) for row in w]


def test_tournament_score_is_the_weighted_sum_of_bits():
    scheme, w = parse("tournament:layers=100"), words(50)
    bits = [[(int(r0) | int(r1) << 64) >> layer & 1 for layer in range(100)] for r0, r1 in w]
    assert scheme.score(w).tolist() == (np.array(bits) @ scheme.weights).tolist()
    assert scheme.weights[0] == 10
    assert scheme.weights[-1] == 1


@pytest.mark.parametrize("spec", SPECS)
def test_marked_draws_score_high(spec):
    """Embedder and detector agree on what high means."""
    scheme, rng = parse(spec), np.random.default_rng(5)
    logits = rng.normal(size=50)
    drawn = []
    for label in range(300):
        w, leaf = words(50, label), words(50, 10_000 + label)
        drawn.append(scheme.score(w[[scheme.draw(logits, w.__getitem__, leaf.__getitem__)]])[0] / scheme.law.unit)
    # A detector with an inverted sign or another bit would sit at or below the null mean.
    assert np.mean(drawn) > scheme.law.mean + 5 * (scheme.law.variance / 300) ** 0.5


@pytest.mark.parametrize("gamma", ["0.25", "0.1", "0.3", "0.000978", "0.000983", "0.7", "0.999999"])
def test_green_law_is_never_below_the_threshold(gamma):
    """The nearest double may lie below the exact share of green tokens."""
    scheme = parse(f"greenlist:gamma={gamma}")
    assert Fraction(scheme.law.p) >= Fraction((scheme.gamma << 64) // 1_000_000, 1 << 64)


def test_full_excess_is_stated_for_measured_parameters_alone():
    assert parse("greenlist").full_excess is not None
    assert parse("greenlist:delta=0").full_excess is None
    assert parse("tournament:layers=5").full_excess is None
