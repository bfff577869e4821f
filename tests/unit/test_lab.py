"""The lab's own parts: models, training, rates, resumable runs, fitted references."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks.lab import corpus, runs
from benchmarks.lab.campaigns import Plan, pair
from benchmarks.lab.family import Size, Training, Transformer, log_likelihood, train
from benchmarks.lab.generation import PROMPT, answers, samples
from benchmarks.lab.opened import places, predictions
from benchmarks.lab.rates import design_effect, rates
from benchmarks.lab.shares import fitted
from watermark.sampling import Request, Sampler

TINY = Size(width=16, layers=2, heads=2)


@pytest.fixture
def model():
    return Transformer(TINY, seed=3).eval()


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(corpus.VOCABULARY, size=(6, PROMPT + 8)).astype(np.uint32)


def test_cached_steps_give_the_logits_of_the_whole(model, ids):
    x = torch.from_numpy(ids.astype(np.int64))
    whole, cache = model(x), model.new_cache()
    steps = [model(x[:, :PROMPT], cache)] + [model(x[:, i : i + 1], cache) for i in range(PROMPT, x.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x, start=5), whole[:, 5:])


def test_log_likelihood_is_that_of_the_answer_alone(model, ids):
    logs = model(torch.from_numpy(ids.astype(np.int64))).log_softmax(dim=2).detach().numpy()
    expected = [sum(logs[i, t - 1, ids[i, t]] for t in range(PROMPT, ids.shape[1])) for i in range(len(ids))]
    np.testing.assert_allclose(log_likelihood(model, ids, PROMPT, batch=4), expected, rtol=1e-5)


def test_training_learns_and_repeats(ids):
    how = Training(rate=3e-3, batch=2, epochs=5)
    first, second = (train(Transformer(TINY, seed=3), ids, how, seed=1) for _ in range(2))
    before = log_likelihood(Transformer(TINY, seed=3), ids, PROMPT).sum()
    assert log_likelihood(first, ids, PROMPT).sum() > before + 10
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_answers_are_the_reference_samplers(model, ids):
    epoch, prompts = Plan(seed=5, width=2).epoch, ids[:3, :PROMPT]
    found = answers(model, prompts, 6, sampler=Sampler(epoch), requests=["a", "b", "c"], batch=2)
    sampler = Sampler(epoch)
    for row, name in enumerate("abc"):
        response, text = sampler.start(Request(name)), prompts[row].tolist()
        for token in found[row]:
            logits = model(torch.tensor([text]), start=-1)[:, 0].detach().numpy()
            assert sampler.draw([response], logits)[0] == token
            text.append(int(token))


def test_samples_follow_the_model(model):
    prompts = np.tile(np.arange(PROMPT, dtype=np.uint32), (5_000, 1))
    p = model(torch.from_numpy(prompts[:1].astype(np.int64)), start=-1)[0, 0].softmax(dim=0).detach().numpy()
    low = np.bincount(samples(model, prompts, 1, seed=2)[:, 0] // 512, minlength=4)
    expected = 5_000 * p.reshape(4, 512).sum(axis=1)
    assert (np.abs(low - expected) < 6 * np.sqrt(expected)).all()


def test_pairs_of_the_shipped_kind_share_the_key_and_follow_the_coin():
    asked = []

    def drawn(epoch, member):
        asked.append((epoch.id, member))
        return np.full((200, 1), member == "b", dtype=np.uint32)

    served, twins = pair(Plan(seed=1), np.random.default_rng(0), drawn, lambda: None)
    assert {epoch for epoch, _ in asked} == {Plan(seed=1).epoch.id}
    assert [member for _, member in asked] == ["a", "b"]
    assert (served != twins).all()
    assert 70 < served.sum() < 130


def test_predictions_stand_at_first_visits(model, ids):
    rows = np.concatenate([ids, ids[:1]])
    asked = places(rows, PROMPT, 1)
    assert len(np.unique(asked.windows)) == len(asked.windows)
    assert (asked.at[:, 0] < len(ids)).all()
    assert set(asked.windows[:, 0]) == set(ids[:, PROMPT:-1].ravel())
    whole = model(torch.from_numpy(rows.astype(np.int64))).log_softmax(dim=2).detach().numpy()
    np.testing.assert_allclose(predictions(model, asked), whole[asked.at[:, 0], asked.at[:, 1] - 1], atol=1e-5)


def test_alike_students_count_as_one():
    """Ten equal students a key: the effective number is that of the keys."""
    generator = np.random.default_rng(0)
    alone = np.log10(generator.uniform(size=(200, 10)))
    alike = np.repeat(alone[:, :1], 10, axis=1)
    assert design_effect(alone < np.log10(0.05)) < 1.4
    assert rates(alike)[0].effective == pytest.approx(200, rel=0.02)
    wide, narrow = rates(alike)[0], rates(alone)[0]
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert narrow.low < 0.05 < narrow.high


def test_no_rejection_still_has_an_upper_limit():
    found = rates(np.zeros((100, 10)))
    assert [(r.rejected, r.low) for r in found] == [(0, 0.0)] * 3
    assert found[0].high == pytest.approx(0.0037, abs=1e-4)


def test_a_fitted_reference_does_not_know_the_coins():
    generator = np.random.default_rng(0)
    student, base, own = generator.normal(size=(3, 50))
    rest = fitted(student, base, own)
    flip = generator.choice([-1, 1], size=50)
    np.testing.assert_allclose(fitted(flip * student, flip * base, flip * own), flip * rest)
    assert np.square(rest).sum() < np.square(student - base).sum()


def test_a_run_is_done_once_and_a_kill_loses_only_the_run_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "CACHE", tmp_path)
    calls = []

    def work(name):
        def do():
            calls.append(name)
            if name == "b" and calls.count("b") == 1:
                raise KeyboardInterrupt
            return {"value": name}

        return do

    planned = [runs.Run(name, {"seed": 1}, work(name)) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        runs.perform("x", planned, lambda line: None)
    runs.perform("x", planned, lambda line: None)
    assert calls == ["a", "b", "b", "c"]
    assert [r["value"] for r in runs.done("x").values()] == ["a", "b", "c"]
    assert json.loads((tmp_path / "runs/x/a.json").read_text())["configuration"] == {"seed": 1}
