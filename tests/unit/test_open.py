from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_epoch
from tests.predicting import chain, learn, predict, serve
from verify.cli.test_open import RULE_NAMES
from verify.distinct import Pairs
from verify.errors import InputError, Refused
from verify.hypotheses import reference
from verify.hypotheses.open import RULES, WITHOUT_REFERENCE, in_channel, score_predictions, score_windows
from verify.hypotheses.reference import Coefficients, score_answers, score_sums
from verify.linear import ONE, LinearForm, fixed_point
from verify.linear_finding import find
from verify.visits import Visits
from watermark.prf import Prf, pack_blocks
from watermark.windows import window_keys

WHOLE = {"shares": "fleet=1"}
OPTIONS = {"prompt_windows": "count"}


def key(label=1, **deployment):
    return make_epoch(label, **{**WHOLE, **deployment}).value_key("fleet")


def form_by_hand(terms, value_key):
    """{(window, token): integer coefficient} -> LinearForm, one PRF block at a time."""
    form, prf = LinearForm.empty(), Prf(value_key.value)
    for (window, token), a in terms.items():
        if a:
            blocks = pack_blocks(np.array([window], dtype=np.uint32), np.array([token], dtype=np.uint32))
            score = value_key.deployment.scheme.score(prf.words(blocks))
            form += LinearForm.of(np.array([a]), score, n_windows=0)
    return form


def same(form, by_hand):
    return LinearForm(**{**vars(form), "n_windows": 0}).to_bytes() == by_hand.to_bytes()


@given(st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=12))
@settings(max_examples=80, deadline=None)
def test_visits_are_the_first_ones_whatever_the_batches(batches):
    visits, seen = Visits(), set()
    for batch in batches:
        windows = np.array(batch, dtype=np.uint64) << np.uint64(40)
        assert visits.seen(windows).tolist() == [w in seen for w in windows.tolist()]
        expected = []
        for w in windows.tolist():
            expected.append(w not in seen)
            seen.add(w)
        assert visits.visit(windows).tolist() == expected
        assert len(visits) == len(seen)


def test_visits_keep_few_runs():
    visits, rng = Visits(), np.random.default_rng(0)
    for _ in range(300):
        visits.visit(rng.integers(0, 1 << 60, 50, dtype=np.uint64))
    assert len(visits) == 15_000
    assert len(visits._runs) < 16


def test_equals_are_settled_by_the_smallest_id_and_not_by_the_order_in_the_file():
    laws = chain(16, 0)
    laws[:, [3, 9]] = 0.4  # two likeliest tokens
    laws /= laws.sum(axis=1, keepdims=True)
    texts = [np.arange(40, dtype=np.uint32) * 7 % 16 for _ in range(2)]
    forms = []
    for turned in (False, True):
        found = predict(texts, laws, 2, served=False)
        if turned:
            turn = {name: lambda v: v[:, ::-1] for name in ("candidates", "log_p", "log_q")}
            found = [replace(p, **{name: f(getattr(p, name)) for name, f in turn.items()}) for p in found]
        forms.append(score_predictions(found, key(), rule="top1").form.to_bytes())
    assert forms[0] == forms[1]


def test_rules_are_what_they_say():
    p, q = np.array([[0.5, 0.25, 0.0]]), np.array([[0.25, 0.25, 0.5]])
    with np.errstate(divide="ignore"):
        logs = np.log(p).astype(np.float32), np.log(q).astype(np.float32)
    expected = {
        "difference": p - q,
        "root": np.sqrt(p) - np.sqrt(q),
        "soft": p,
        "top1": [[1, 0, 0]],
        "hellinger": np.sqrt(p * q) - q,
        "log-ratio": [[0.25 * np.log(2), 0, -1]],
    }
    assert set(RULES) == set(expected) == set(RULE_NAMES)
    for name, rule in RULES.items():
        assert rule(*logs) == pytest.approx(np.array(expected[name]), abs=1e-6), name
        assert np.isfinite(rule(*logs[::-1])).all()
    for name in WITHOUT_REFERENCE:
        assert (RULES[name](logs[0], logs[0]) == RULES[name](*logs)).all()


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_score_windows_agrees_with_one_term_at_a_time(scheme, width):
    rng, k = np.random.default_rng(width), key(scheme=scheme, width=width)
    windows = rng.integers(0, 1 << 20, (7, width), dtype=np.uint32)
    candidates = np.stack([rng.permutation(1 << 20)[:9] for _ in range(7)]).astype(np.uint32)
    coefficients = rng.normal(size=(7, 9)) * 0.5
    coefficients[:, 3] = 0
    terms = {
        (tuple(w), int(v)): round(max(min(a, 1), -1) * ONE)
        for w, row, values in zip(windows.tolist(), candidates, coefficients.tolist(), strict=True)
        for v, a in zip(row, values, strict=True)
    }
    found = score_windows(windows, candidates, coefficients, k)
    assert found.n_windows == 7
    assert found.n_terms == sum(map(bool, terms.values())) <= 56
    assert same(found, form_by_hand(terms, k))


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_each_window_counts_once_at_its_first_visit(served, width):
    """Against a dictionary: served text visits every window, other text only those with a record."""
    k, laws = key(width=width, shares="fleet=0.6,leaf=0.4"), chain(24, 3)
    texts = serve(laws, k, [30] * 6, 4)
    rng = np.random.default_rng(1)
    at = [np.sort(rng.choice(np.arange(1, 30 + served), 17, replace=False)) for _ in texts]
    prompts = [texts[i - 1][:8] if i % 2 else texts[i][:0] for i in range(6)]
    student = learn(texts, laws, width, 3.0)
    predictions = predict(texts, laws, width, student=student, served=served, at=at, prompts=prompts)
    visited, shown, terms = set(), set(), {}
    counts = {"first_h": 0, "visited": 0, "in_prompt": 0, "other_channel": 0}
    for text in predictions:
        ids = text.token_ids.tolist()
        if served:
            prompt = text.prompt_ids.tolist()
            shown |= {tuple(prompt[t - width : t]) for t in range(width, len(prompt))}
        for t in range(len(ids) + served):
            recorded = t in text.at
            if t < width:
                counts["first_h"] += recorded
                continue
            window = tuple(ids[t - width : t])
            if not recorded and not served:
                continue
            new = window not in visited
            visited.add(window)
            if not recorded:
                continue
            if not new:
                counts["visited"] += 1
            elif window in shown:
                counts["in_prompt"] += 1
            elif not in_channel(np.array([window], dtype=np.uint32), k)[0]:
                counts["other_channel"] += 1
            else:
                row = text.at.tolist().index(t)
                p, q = np.exp(text.log_p[row].astype(float)), np.exp(text.log_q[row].astype(float))
                a = fixed_point(np.sqrt(p) - np.sqrt(q)).tolist()
                terms |= {(window, v): x for v, x in zip(text.candidates[row].tolist(), a, strict=True)}
    found = score_predictions(predictions, k)
    assert found.rule == "root"
    assert found.n_dropped == counts
    assert all(counts[name] for name in ("visited", "other_channel"))
    assert found.form.n_windows == found.n_positions - sum(counts.values()) > 5
    assert same(found.form, form_by_hand(terms, k))


def test_ignoring_prompts_scores_what_counting_them_leaves_out():
    k, laws = key(), chain(24, 3)
    texts = serve(laws, k, [60] * 6, 4)
    prompts = [text[:20] for text in texts]
    predictions = predict(texts, laws, 2, prompts=prompts)
    count = score_predictions(predictions, k, rule="soft")
    ignore = score_predictions(predictions, k, rule="soft", prompt_windows=False)
    assert ignore.n_dropped["in_prompt"] == 0 < count.n_dropped["in_prompt"]
    assert ignore.form.n_windows == count.form.n_windows + count.n_dropped["in_prompt"]


@pytest.mark.parametrize("count_prompts", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_answers_sum_coefficients_per_window_and_token_before_they_are_scored(width, count_prompts, monkeypatch):
    monkeypatch.setattr(reference, "CAP", 1)  # so that a few texts reach it
    k, laws = key(width=width, shares="fleet=0.6,leaf=0.4"), chain(12, 3)
    texts = serve(laws, k, [40] * 8, 4)
    prompts = [text[:6] for text in texts]
    predictions = predict(texts, laws, width, served=False, prompts=prompts)
    terms = {}
    for text in predictions:
        ids, prompt, used = text.token_ids.tolist(), text.prompt_ids.tolist(), set()
        shown = {tuple(prompt[t - width : t]) for t in range(width, len(prompt))} if count_prompts else set()
        for t in range(width, len(ids)):
            window = tuple(ids[t - width : t])
            again, _ = window in used, used.add(window)
            if again or window in shown or not in_channel(np.array([window], dtype=np.uint32), k)[0]:
                continue
            q = fixed_point(np.exp(text.log_q[text.at.tolist().index(t)].astype(float))).tolist()
            for v, x in zip(text.candidates[0].tolist(), q, strict=True):
                terms[window, v] = terms.get((window, v), 0) - x + ONE * (v == ids[t])
    assert max(map(abs, terms.values())) > ONE or width == 3  # so clipping matters
    found = score_answers(predictions, k, prompt_windows=count_prompts)
    assert found.form.n_windows == len({window for window, _ in terms})
    assert same(found.form, form_by_hand({pair: max(min(a, ONE), -ONE) for pair, a in terms.items()}, k))
    half = score_answers(iter(predictions), k, prompt_windows=count_prompts)
    assert half.form.to_bytes() == found.form.to_bytes()


def test_a_token_outside_the_candidates_counts_whole():
    k, laws = key(), chain(40, 3)
    texts = serve(laws, k, [60] * 3, 4)
    full = predict(texts, laws, 2, served=False)
    short = [
        type(p)(**{**vars(p), "candidates": p.candidates[:, :1], "log_p": None, "log_q": p.log_q[:, :1]}) for p in full
    ]
    found = score_answers(short, k)
    assert found.form.n_windows == score_answers(full, k).form.n_windows
    whole = int(np.argmax(found.form.positive[::-1] > 0))  # bins of 2^(1/64) below a coefficient of 1
    assert whole <= 64 * np.log2(reference.CAP)


def test_a_student_is_found_and_another_key_is_not():
    laws, k = chain(64, 0), key()
    texts = serve(laws, k, [60] * 20, 1)
    predictions = predict(texts, laws, 2, student=learn(texts, laws, 2, 20.0))
    for rule in RULES:
        yes, no = (
            find(score_predictions(predictions, x, rule=rule), x, alpha=1e-6, options=OPTIONS) for x in (k, key(2))
        )
        assert yes.found, rule
        assert yes.log10_p == -yes.log10_e
        assert yes.log10_p_estimate is None
        assert "mark of key epoch/test/fleet was found in the predictions" in yes.sentence
        assert not no.found
        assert no.sentence.startswith("The mark of key epoch/test/fleet was not found in the predictions")
        assert no.smallest_excess > 0
    d = yes.to_dict()
    assert d["n_positions"] == sum(d["n_dropped"].values()) + d["n_scored"]
    assert any("order in which they were served" in a for a in d["assumptions"])
    assert not any("no prompt" in a for a in d["assumptions"])
    assert any("no prompt" in a for a in find(score_predictions(predictions, k), k, alpha=1e-3, options={}).assumptions)


def test_served_text_is_decided_by_e_and_other_text_by_chernoff():
    laws, k = chain(64, 0), key()
    texts = serve(laws, k, [60] * 20, 1)
    student = learn(texts, laws, 2, 20.0)
    served, public = (
        find(score_predictions(predict(texts, laws, 2, student=student, served=s), k), k, alpha=0.01, options=OPTIONS)
        for s in (True, False)
    )
    assert served.log10_e == pytest.approx(public.log10_e)
    assert public.log10_p < -public.log10_e == served.log10_p
    assert public.log10_p_estimate < public.log10_p


def test_what_cannot_be_tested_is_refused():
    laws, k = chain(30, 0), key()
    texts = serve(laws, k, [40] * 4, 1)
    a, b = predict(texts, laws, 2), predict(texts, laws, 2, served=False)
    plain = predict(texts, laws, 2, reference=False)
    with pytest.raises(Refused, match="served is False, expected True"):
        score_predictions([a[0], b[1]], k)
    with pytest.raises(Refused, match="reference_model is None"):
        score_predictions([a[0], plain[1]], k, rule="soft")
    with pytest.raises(InputError, match="rule difference needs a reference"):
        score_predictions(plain, k, rule="difference")
    assert score_predictions(plain, k).rule == "soft"
    with pytest.raises(InputError, match="rule is 'x'"):
        score_predictions(a, k, rule="x")
    with pytest.raises(InputError, match="no prediction"):
        score_predictions([], k)
    with pytest.raises(InputError, match="no prediction"):
        score_answers([], k)
    with pytest.raises(Refused, match="served is true"):
        score_answers(a, k)
    with pytest.raises(InputError, match="without log_q"):
        score_answers(predict(texts, laws, 2, served=False, reference=False), k)
    answers = [type(p)(**{**vars(p), "log_p": None}) for p in b]
    with pytest.raises(InputError, match="without log_p"):
        score_predictions(answers, k)
    few = predict([texts[0][:10]], laws, 2)
    with pytest.raises(Refused, match="fewer than 32"):
        find(score_predictions(few, k), k, alpha=0.01, options=OPTIONS)


@pytest.mark.parametrize("others", [[0, 5, 1 << 6, (1 << 20) - 1], [7]], ids=["any", "one"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_sums_per_pair_are_exact_whatever_the_batches(width, others):
    """Ids over the whole range, so that at width 3 pairs differ in the high column alone; against a dictionary."""
    rng, some = np.random.default_rng(width), np.array(others, dtype=np.uint32)
    sums, expected = Coefficients(width), {}
    for _ in range(6):
        windows, tokens = rng.choice(some, (200, width)), rng.choice(some, 200)
        windows[:, 0] = rng.choice([0, 1 << 6], 200)
        values = rng.integers(-ONE, ONE, 200)
        keys = window_keys(windows.ravel(), np.arange(1, 201) * width, width)
        sums.add(Pairs.of(keys, tokens, width), values)
        for window, token, value in zip(windows.tolist(), tokens.tolist(), values.tolist(), strict=True):
            expected[(*window, token)] = expected.get((*window, token), 0) + value
        if rng.random() < 0.5:
            sums.result()
    pairs, found = sums.result()
    ids = np.column_stack([pairs.windows(), pairs.tokens()]).tolist()
    assert dict(zip(map(tuple, ids), found.tolist(), strict=True)) == expected
    assert ids == sorted(ids)
    assert score_sums(pairs, found, key(width=width)).n_windows == len({ids[:-1] for ids in expected})


def test_served_texts_without_the_places_where_they_ended_give_no_finding():
    k, laws = key(), chain(40, 1)
    texts = serve(laws, k, [30] * 8, 1)
    cut = predict(texts, laws, 2, at=[np.arange(1, 30)] * 8)
    with pytest.raises(Refused, match="no served text has a record after its last token"):
        find(score_predictions(cut, k), k, alpha=0.01, options=OPTIONS)
    thinned = predict(texts, laws, 2, at=[np.arange(1, 28)] * 8)
    assert find(score_predictions(thinned, k, rule="soft"), k, alpha=0.01, options=OPTIONS).n_scored == 80
