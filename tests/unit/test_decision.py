"""What a plan decides, when numbers are equal, and whether what was done is what was planned."""

import copy

import msgspec
import numpy as np
import pytest

from tests.planning import TESTS, plan
from verify.errors import InputError
from verify.evidence.conformity import differences
from verify.evidence.decision import decide
from verify.evidence.equality import difference, measurements
from verify.measured import (
    Form,
    MeasuredClosed,
    MeasuredForm,
    MeasuredSequential,
    MeasuredTwin,
    from_fields,
    rounded,
    to_fields,
)

KEYS = [{"id": f"{i:064x}", "path": f"epoch/q4/account/{i}"} for i in range(3)]


def several(correction, n=3, extra=()):
    names = tuple(f"q4: epoch/q4/account/{i}" for i in range(n))
    shares = {"fleet": 500_000, "account": 400_000, "leaf": 100_000}
    return plan(keys=KEYS[:n], family={"tests": [*names, *extra], "correction": correction}, shares=shares)


def test_one_test_is_compared_with_alpha_as_it_is():
    for p, found in ((-6.0, True), (-5.999999, False)):
        decided = decide(plan(alpha=1e-6), [{"log10_p": p, "log10_e": 3.0}])
        assert (decided.tests[0].found, decided.tests[0].log10_adjusted) == (found, p)
    assert decided.sentence.startswith("Not found: q4.")
    assert "Exploratory" in decided.sentence


def test_a_family_is_corrected_and_what_is_not_here_counts_as_nothing():
    derived = [{"log10_p": p, "log10_e": -p} for p in (-7.0, -2.0, -0.5)]
    holm = decide(several("holm"), derived)
    assert [t.log10_adjusted for t in holm.tests] == pytest.approx([-7 + np.log10(3), -2 + np.log10(2), -0.5], abs=2e-6)
    more = decide(several("holm", extra=("another", "and one more")), derived)
    assert more.tests[0].log10_adjusted == pytest.approx(-7 + np.log10(5), abs=2e-6)
    bh = decide(several("bh", extra=("another",)), derived)
    assert bh.tests[1].log10_adjusted == pytest.approx(-2 + np.log10(4 / 2), abs=2e-6)
    ebh = decide(several("e-bh", extra=("another",)), derived)
    assert ebh.tests[0].log10_adjusted == pytest.approx(-7 + np.log10(4), abs=2e-6)


def test_the_family_wise_level_holds_when_some_tests_are_kept_back():
    """2,000 families of 6 true nulls of which 3 are shown, the best ones: at most 5 %, within 4 deviations."""
    rng, rejected = np.random.default_rng(0), 0
    planned = several("holm", extra=("a", "b", "c"))
    planned = msgspec.structs.replace(planned, alpha=0.05)
    for p in np.sort(np.log10(rng.random((2000, 6))), axis=1):
        rejected += any(t.found for t in decide(planned, [{"log10_p": x, "log10_e": 0.0} for x in p[:3]]).tests)
    assert rejected / 2000 < 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5
    assert rejected > 0


def test_numbers_are_never_written_stronger_than_they_are():
    found = rounded({"log10_p": -1.23456789, "log10_e": 1.23456789, "log10_e_bh": -1.23456789, "z": 1.23456789,
                     "log10_adjusted": -2.0000001, "n": 3, "rows": [0.1234567]})  # fmt: skip
    assert found == {"log10_p": -1.234567, "log10_e": 1.234567, "log10_e_bh": -1.234567, "z": 1.234568,
                     "log10_adjusted": -2.0, "n": 3, "rows": [0.123457]}  # fmt: skip


def test_what_was_rounded_once_stays_as_it_is():
    """1.001 is a double below it; floor of a million times that was one less."""
    rng = np.random.default_rng(0)
    for name in ("log10_p", "log10_e", "z"):
        for value in [*(rng.normal(size=20_000) * 10.0 ** rng.integers(-3, 6, 20_000)), 0.29, 1.001, -1e-7, 1e-7]:
            once = rounded(float(value), name)
            assert rounded(once, name) == once
            low, high = {"log10_p": (0, 1), "log10_e": (-1, 0), "z": (-0.5, 0.5)}[name]
            assert low * 1e-6 - 1e-9 <= once - value <= high * 1e-6 + 1e-9


@pytest.mark.parametrize(
    ("stated", "found", "same"),
    [
        (1, 1, True),
        (1, 2, False),
        (1, 1.0, True),
        (-5.000001, -5.0, True),
        (-5.000002, -5.0, False),
        (-1e6, -1e6 - 5e-4, True),
        (True, 1, False),
        ("1", 1, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ([1], [1, 1], False),
        (None, 0, False),
        (float("nan"), 0.0, False),
    ],
)
def test_equal_to_the_last_digit(stated, found, same):
    assert (difference(stated, found, "x") is None) == same


CLOSED = MeasuredClosed(n_documents=6, n_empty=0, n_seen=100, n_dropped={"first_h": 40}, n_scored=60, total="7",
                        total_squares="9")  # fmt: skip
FORM = MeasuredForm(
    rule="root", suspect="rival", tokenizer="sha256:" + "0" * 64, reference_model="base", served=False, n_texts=6,
    n_positions=100, n_ends=0, n_cut=0, n_dropped={},
    form=Form(n_windows=50, n_terms=3, total="-123456789", sum_coefficients="12", sum_squares="900",
              positive=((3, 2),), negative=((7, 1),)),
)  # fmt: skip
TWIN = MeasuredTwin(n_pairs=6, n_missing=1, wins=4, losses=2, ties=0, alone=True, log10_p_rank=-1.0, drawn="serving",
                    n_drawn_again=0, n_replayed=0, scored_by="x")  # fmt: skip
SEQUENTIAL = MeasuredSequential(n_answers=6, n_scored=50, total="5", log10_e_max=0.5)


@pytest.mark.parametrize("measured", [CLOSED, FORM, TWIN, SEQUENTIAL], ids=lambda m: type(m).__name__)
def test_measurements_survive_json_and_refuse_what_cannot_be(measured):
    fields = to_fields(measured)
    assert from_fields(fields, "x") == measured
    assert measurements(measured, measured) is None
    for name, value in fields.items():
        for bad in (None, -1, 1.5, [], {}, "", "x" * 5000, float("nan"), 1 << 60):
            if bad != value and not (name in ("log10_p_rank", "log10_e_max") and isinstance(bad, float)):
                changed = copy.deepcopy(fields) | {name: bad}
                if name in ("n_dropped", "accumulation", "accounts") and bad in ([], {}):
                    continue
                try:
                    again = from_fields(changed, "x")
                except InputError:
                    continue
                assert measurements(measured, again) is not None, (name, bad)
    with pytest.raises(InputError):
        from_fields(fields | {"more": 1}, "x")


def test_a_form_of_another_machine_may_differ_by_one_coefficient_and_no_more():
    def with_form(**changed):
        return msgspec.structs.replace(FORM, form=msgspec.structs.replace(FORM.form, **changed))

    assert measurements(FORM, with_form(total="-123456790")) is None
    assert measurements(FORM, with_form(sum_coefficients="13", positive=((3, 1), (4, 1)))) is None
    assert measurements(FORM, with_form(sum_coefficients="13", positive=((3, 1), (67, 1)))) is None  # 1 to 2 units
    assert "sum_coefficients" in measurements(FORM, with_form(sum_coefficients="14"))
    assert "n_windows" in measurements(FORM, with_form(n_windows=51))
    assert "total" in measurements(FORM, with_form(total="-99123456789"))
    assert "positive" in measurements(FORM, with_form(positive=((3, 1), (68, 1))))
    assert "rule" in measurements(FORM, msgspec.structs.replace(FORM, rule="soft"))


def options(hypothesis="closed", **changed):
    inputs = {"inputs": {"served": SERVED}} if changed.get("served") else {}
    return plan(hypothesis, test=TESTS[hypothesis] | {"hypothesis": hypothesis} | changed, **inputs)


SERVED = "sha256:" + "5" * 64


DIGEST = plan().test.tokenizer.removeprefix("sha256:")


@pytest.mark.parametrize(
    ("planned", "measured", "words"),
    [
        (plan(), CLOSED, "the number of decoys is 0"),
        (options(decoys=0), CLOSED, None),
        (options(decoys=0), msgspec.structs.replace(CLOSED, n_documents=5), "the number of answers is 5"),
        (options(decoys=0), TWIN, "the kind of measurement"),
        (options(decoys=0, served=True), CLOSED, "served is False"),
        (options("open", tokenizer="sha256:" + "0" * 64), FORM, None),
        (plan("open"), FORM, "the tokenizer of the records"),
        (options("open", tokenizer="sha256:" + "0" * 64, rule="difference"), FORM, "the rule is 'root'"),
        (plan("twin"), TWIN, None),
        (plan("twin"), msgspec.structs.replace(TWIN, suspect="another"), "the suspect of the records is 'another'"),
        (plan("twin"), msgspec.structs.replace(TWIN, losses=1), "the number of pairs counted"),
        (options("twin", coins="recomputed"), TWIN, "coins is 'stated'"),
        (plan("sequential"), SEQUENTIAL, None),
        (plan("sequential"), msgspec.structs.replace(SEQUENTIAL, n_answers=5), "without enough evidence is 5"),
        (plan("sequential"), msgspec.structs.replace(SEQUENTIAL, enough_after=5), None),  # one was in flight
        (plan("sequential"), msgspec.structs.replace(SEQUENTIAL, enough_after=4), "after there was enough evidence"),
    ],
)
def test_what_was_done_is_what_was_planned(planned, measured, words):
    subjects = {role: digest.removeprefix("sha256:") for role, digest in planned.inputs.items()}
    found = list(
        differences(planned, measured, subjects | ({"tokenizer": DIGEST} if planned.hypothesis == "closed" else {}))
    )
    assert (words is None and not found) or (len(found) >= 1 and words in found[0]), found
