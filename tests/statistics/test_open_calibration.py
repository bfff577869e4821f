"""False-alarm rates of the open and the reference test under the null, and what goes wrong without their rules.

The key is random, the innocent model is fixed: a Markov chain of its own, which never saw marked text. Served text is
really drawn by the keyed teacher, so the windows depend on the key. Each check of validity fails with probability
below 10^-6 if the code is right; seeds are fixed.
"""

import numpy as np
import pytest
from scipy.special import bdtrc

from tests.conftest import make_epoch
from tests.predicting import TOKENIZER, chain, learn, predict, serve
from verify.hypotheses.open import score_predictions, score_windows
from verify.hypotheses.reference import score_answers
from verify.linear import LinearForm, centred_sum, log10_e, log10_p, standard_deviation, z
from verify.predictions import Prediction
from watermark.prf import Prf, gumbel_noise, pack_blocks

ALARM = 1e-6
LEVELS = (0.3, 0.1, 0.03, 0.01)


def violations(log10):
    """Levels at which more null results lie than may."""
    counts = [(a, int((np.asarray(log10) <= np.log10(a)).sum())) for a in LEVELS]
    return [a for a, count in counts if count and bdtrc(count - 1, len(log10), a) < ALARM]


def fleet(label, **deployment):
    return make_epoch(label, **{"shares": "fleet=1", **deployment}).value_key("fleet")


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_fixed_coefficients_are_valid_under_random_keys(scheme):
    rng, trials = np.random.default_rng(1), 600
    windows = np.unique(rng.integers(0, 5000, (40, 2), dtype=np.uint32), axis=0)
    candidates = np.tile(np.arange(25, dtype=np.uint32), (len(windows), 1))
    p, q = (rng.dirichlet(np.full(25, 0.3), len(windows)) for _ in range(2))
    keys = [fleet(label, scheme=scheme) for label in range(trials)]
    law = keys[0].deployment.scheme.law
    forms = [score_windows(windows, candidates, p - q, key) for key in keys]
    sums = np.array([z(law, form) for form in forms])
    assert abs(sums.mean()) < 5 / trials**0.5
    assert abs(sums.std() - 1) < 5 / (2 * trials) ** 0.5 + 0.03
    log10 = [log10_p(law, form) for form in forms]
    assert violations(log10) == []
    assert np.mean(np.array(log10) <= -1) > 0.005  # nor is it dead
    e = 10 ** np.array([log10_e(law, form) for form in forms])
    assert violations(-np.log10(e)) == []
    assert 0.4 < e.mean() < 1 + 5 * e.std() / trials**0.5


@pytest.mark.parametrize(("rule", "width"), [("difference", 1), ("root", 2), ("soft", 2), ("log-ratio", 1)])
def test_innocents_on_served_text_are_valid_under_the_true_key(rule, width):
    """The model's chain is not the teacher's, so its coefficients are large, and it is tested under the true key."""
    laws, innocent, trials = chain(40, 1), chain(40, 2), 250
    log10 = []
    for label in range(trials):
        key = fleet(label, width=width)
        texts = serve(laws, key, [30] * 4, label)
        predictions = predict(texts, laws, width)
        predictions = [with_law(p, innocent) for p in predictions]
        scored = score_predictions(predictions, key, rule=rule)
        log10.append(log10_e(key.deployment.scheme.law, scored.form))
    e = 10 ** np.array(log10)
    assert violations(-np.array(log10)) == []
    assert e.mean() < 1 + 5 * e.std() / trials**0.5
    assert e.mean() > 0.2


def with_law(p, laws):
    """The same text under a model whose law after a token is its row."""
    return Prediction(**{**vars(p), "log_p": np.log(laws[p.token_ids[p.at - 1]]).astype(np.float32)})


def test_counting_every_visit_would_be_caught():
    """A window that its token leads back to is visited again: weights by visits know the score."""
    laws = 0.5 * np.eye(40) + 0.5 * chain(40, 1)
    first, every = [], []
    for label in range(250):
        key = fleet(label, width=1)
        law = key.deployment.scheme.law
        predictions = predict(serve(laws, key, [12] * 25, label), laws, 1)
        first.append(z(law, score_predictions(predictions, key, rule="soft").form))
        visits = np.bincount(np.concatenate([p.token_ids[:-1] for p in predictions]), minlength=40)
        windows, weights = np.arange(40, dtype=np.uint32)[:, None], visits[:, None] / visits.max()
        form = score_windows(windows, np.tile(windows.T, (40, 1)), weights * laws, key)
        every.append(z(law, form))
    assert abs(np.mean(first)) < 5 / 250**0.5
    assert np.mean(every) > 5 / 250**0.5


@pytest.fixture(scope="module")
def gambler():
    """Forms of served texts that end once the scores so far look good.

    Token 2j or 2j + 1 follows step j - 1, by whether 2j is green, so the text shows its scores; the teacher ends the
    answer when they are 2.18 standard deviations up. The model knows nothing: its probability of 2j is one half.
    """
    steps, trials, forms = 5000, 500, []
    for label in range(trials):
        key = fleet(label, width=1, scheme="greenlist:delta=2,gamma=0.5")
        vocabulary = np.arange(2 * steps, dtype=np.uint32)
        blocks = pack_blocks(vocabulary[:, None], vocabulary // 2 * 2 + 2)
        green = key.deployment.scheme.score(Prf(key.value).words(blocks)).astype(bool)
        ids, ahead = [0], 0.0
        while len(ids) < steps and not ahead > 2.18 * max(len(ids) - 1, 8) ** 0.5 / 2:
            hit = bool(green[ids[-1]])
            ids.append(2 * len(ids) + (not hit))
            ahead += hit - 0.5
        ids = np.array(ids, dtype=np.uint32)
        half = np.full((len(ids) - 1, 1), np.log(0.5), dtype=np.float32)
        text = Prediction(
            id="t",
            ordinal=0,
            served=True,
            prompt_ids=ids[:0],
            token_ids=ids,
            tokenizer=TOKENIZER,
            at=np.arange(1, len(ids)),
            candidates=2 * np.arange(1, len(ids), dtype=np.uint32)[:, None],
            log_p=half,
            log_q=None,
            suspect="innocent",
        )
        forms.append((key.deployment.scheme.law, score_predictions([text], key).form))
    return forms


def test_served_text_that_ends_on_a_high_keeps_the_e_value_valid(gambler):
    assert violations([-log10_e(*form) for form in gambler]) == []


def test_a_fixed_sample_bound_on_served_text_would_be_caught(gambler):
    assert violations([log10_p(*form) for form in gambler]) != []


def test_a_quoted_prompt_breaks_the_test_without_the_prompt_rule():
    """An innocent that repeats what its prompt says, prompted with marked text that is not in the file."""
    laws, found = chain(40, 1, 1.0), {True: [], False: []}
    for label in range(120):
        key = fleet(label)
        quoted = serve(laws, key, [60] * 8, 1000 + label)
        texts = serve(laws, key, [40] * 8, label)
        predictions = []
        for n, (text, prompt) in enumerate(zip(texts, quoted, strict=True)):
            (p,) = predict([text], laws, 2, student=learn([prompt], laws, 2, 1.0), prompts=[prompt])
            predictions.append(Prediction(**{**vars(p), "id": f"t{n}", "ordinal": n}))
        for rule, values in found.items():
            form = score_predictions(predictions, key, prompt_windows=rule).form
            values.append(log10_e(key.deployment.scheme.law, form))
    assert violations(-np.array(found[True])) == []
    assert np.mean(np.array(found[False]) > 6) > 0.5


@pytest.mark.parametrize("width", [1, 2])
def test_answers_with_a_reference_are_valid(width):
    """An innocent's answers, with a reference that fits badly; at width 1 many places share a window."""
    laws, reference, trials = chain(30, 1), chain(30, 2), 400
    rng = np.random.default_rng(9)
    texts = []
    for _ in range(12):
        ids = [0]
        while len(ids) < 40:
            ids.append(int(rng.choice(30, p=laws[ids[-1]])))
        texts.append(np.array(ids, dtype=np.uint32))
    answers = predict(texts, reference, width, served=False)
    keys = [fleet(label, width=width) for label in range(trials)]
    law = keys[0].deployment.scheme.law
    forms = [score_answers(answers, key).form for key in keys]
    sums = np.array([z(law, form) for form in forms])
    assert abs(sums.mean()) < 5 / trials**0.5
    assert abs(sums.std() - 1) < 5 / (2 * trials) ** 0.5 + 0.03
    assert violations([log10_p(law, form) for form in forms]) == []


def test_not_summing_per_window_and_token_would_be_caught():
    """Terms that share a score, taken for independent: the standard deviation is wrong by far."""
    laws = chain(30, 1)
    rng = np.random.default_rng(9)
    windows = rng.integers(0, 30, (400, 1), dtype=np.uint32)
    candidates = np.tile(np.arange(30, dtype=np.uint32), (400, 1))
    sums = []
    for label in range(200):
        key = fleet(label, width=1)
        form = score_windows(windows, candidates, laws[windows[:, 0]], key)
        law = key.deployment.scheme.law
        sums.append(centred_sum(law, form) / standard_deviation(law, form))
    assert np.std(sums) > 2


def test_a_reference_takes_noise_out_of_answers():
    """A student's answers, with and without the chain it started from as control variate."""
    laws, key = chain(60, 1, 0.2), fleet(0)
    student = learn(serve(laws, key, [60] * 60, 1), laws, 2, 6.0)
    rng, texts = np.random.default_rng(2), []
    for _ in range(40):
        ids = [0]
        while len(ids) < 40:
            law = student.get(ids[-2] << 20 | ids[-1]) if len(ids) > 1 else None
            ids.append(int(rng.choice(60, p=laws[ids[-1]] if law is None else law)))
        texts.append(np.array(ids, dtype=np.uint32))
    answers = predict(texts, laws, 2, served=False)
    nothing = [Prediction(**{**vars(p), "log_q": np.full_like(p.log_q, -np.inf)}) for p in answers]
    law = key.deployment.scheme.law
    with_reference, without = (log10_p(law, score_answers(a, key).form) for a in (answers, nothing))
    assert with_reference < -20
    assert with_reference < 1.1 * without


def test_a_student_is_found_at_every_width():
    laws = chain(64, 0)
    for width in (1, 2, 3):
        key = fleet(1, width=width)
        texts = serve(laws, key, [60] * 12, 1)
        form: LinearForm = score_predictions(
            predict(texts, laws, width, student=learn(texts, laws, width, 30.0)), key
        ).form
        assert log10_e(key.deployment.scheme.law, form) > 6


def test_answers_that_end_do_not_accuse_a_model_that_goes_on():
    """Each window is followed by the end or by one token, by the key; an innocent knows the two and never ends."""
    laws = np.full((122, 122), 1e-9)
    laws[:, 1] = 1
    sums = {True: [], False: []}
    for label in range(40):
        key = fleet(label)
        law, n = key.deployment.scheme.law, 60
        windows = np.arange(2 * n, dtype=np.uint32).reshape(n, 2) + 2
        words = Prf(key.value).words(pack_blocks(np.repeat(windows, 2, axis=0), np.tile(np.uint32([0, 1]), n)))
        goes_on = gumbel_noise(words[:, 0]).reshape(n, 2).argmax(axis=1) == 1
        texts = [np.append(w, np.uint32(1)) if more else w for w, more in zip(windows, goes_on, strict=True)]
        for ends, found in sums.items():
            at = [np.arange(2, len(text) + ends) for text in texts]
            records = predict(texts, laws, 2, at=at)
            found.append(z(law, score_predictions(records, key, rule="soft").form))
    assert abs(np.mean(sums[True])) < 5 / 40**0.5
    assert np.mean(sums[False]) > 5 / 40**0.5  # what leaving the ends out would do
