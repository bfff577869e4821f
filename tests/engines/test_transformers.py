"""The transformers adapter on a real model: token for token the reference, and what it must refuse."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest

from tests.conftest import make_epoch
from verify.hypotheses.closed import log10_p
from verify.scoring import score, summarize
from watermark.errors import Error
from watermark.sampling import Request, Sampler
from watermark.windows import TokenBatch, Tracker

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

PROMPTS = [
    "Name three colours.",
    "Explain in one paragraph how a bicycle stays upright, for a curious child who asks many questions.",
    "Write a short story about a lighthouse.",
    "Answer with one word only: is water wet, yes or no?",
]


def encode(model, prompts):
    tok = model.tokenizer
    chats = [
        tok.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    return tok(chats, return_tensors="pt", padding=True, add_special_tokens=False)


def generate(model, sampler, requests, prompts=PROMPTS, **options):
    import torch

    from watermark.engines.transformers import RadiolabelConfig

    config = RadiolabelConfig.for_model(model.model, sampler, requests)
    encoded = encode(model, prompts)
    options = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "top_k": 0, "max_new_tokens": 40} | options
    with torch.inference_mode():
        output = model.model.generate(
            **encoded, **options, watermarking_config=config, pad_token_id=model.tokenizer.pad_token_id
        )
    return output[:, encoded.input_ids.shape[1] :].numpy(), config.finish(output), config


def reference(model, sampler, requests, steps):
    """A decoding loop of our own: the model's forward pass, transformers' own warpers, the NumPy sampler."""
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    encoded = encode(model, PROMPTS)
    mask, ids, cache = encoded.attention_mask, encoded.input_ids, None
    responses, drawn = [sampler.start(r) for r in requests], []
    warpers = [TemperatureLogitsWarper(0.8), TopPLogitsWarper(0.9)]
    with torch.inference_mode():
        for step in range(steps):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            feed = ids if step == 0 else torch.tensor(drawn[-1])[:, None]
            out = model.model(
                input_ids=feed,
                attention_mask=mask,
                position_ids=positions[:, -feed.shape[1] :],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, scores = out.past_key_values, out.logits[:, -1].float()
            for warper in warpers:
                scores = warper(None, scores)
            drawn.append(sampler.draw(responses, scores.numpy()))
            mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=mask.dtype)], dim=1)
    return np.array(drawn).T


@pytest.mark.parametrize("scheme", ["gumbel", "tournament"])
def test_token_for_token_the_reference(smollm2, scheme):
    epoch = make_epoch(scheme=scheme, shares="fleet=0.5,account=0.3,leaf=0.2")
    requests = [Request(f"r{i}", account=str(i % 2)) for i in range(len(PROMPTS))]
    got, responses, _ = generate(smollm2, Sampler(epoch), requests)
    want = reference(smollm2, Sampler(epoch), requests, got.shape[1])
    end = smollm2.tokenizer.eos_token_id
    for row, response in enumerate(responses):
        length = len(response.tracker.tokens)
        ended = end in got[row]
        assert length == (list(got[row]).index(end) + 1 if ended else got.shape[1])
        assert got[row, :length].tolist() == want[row, :length].tolist() == response.tracker.tokens
        assert sum(response.counts.values()) == length
    assert any(end in row for row in got), "no answer ended early: the padded case was not tested"


def test_each_answer_carries_its_accounts_key_and_no_other(smollm2):
    epoch = make_epoch(shares="account=1")
    prompts = [
        "Describe the sea.",
        "Tell me about the history of chess.",
        "Write a short story.",
        "How do vaccines work?",
    ]
    requests = [Request(f"r{i}", account=str(i)) for i in range(4)]
    _, responses, _ = generate(smollm2, Sampler(epoch), requests, prompts, temperature=1.0, top_p=1.0)
    for row, response in enumerate(responses):
        tokens = np.array(response.tracker.tokens, dtype=np.uint32)
        pairs = summarize(TokenBatch.from_documents([tokens]), 2).pairs
        for slot in range(4):
            s = score(pairs, epoch.value_key("account", str(slot)))
            p = log10_p(epoch.deployment.scheme.law, s.n, s.total)
            assert p < -6 if slot == row else p > -4


def test_same_prompt_twice_gives_different_answers_and_a_request_replays(smollm2):
    sampler = Sampler(make_epoch())
    prompts = [PROMPTS[2]] * 3
    first, responses, _ = generate(smollm2, sampler, [Request(r) for r in "abc"], prompts)
    again, _, _ = generate(smollm2, sampler, [Request(r) for r in "abd"], prompts)
    assert len({tuple(r.tracker.tokens) for r in responses}) == 3
    assert first[:2].tolist() == again[:2].tolist()
    assert first[2].tolist() != again[2].tolist()


def test_the_repeated_window_rule_prevents_loops(smollm2, monkeypatch):
    """A fixed key at width 1 sends a small model round in circles, unless a used window is drawn fresh."""
    epoch = make_epoch(width=1, shares="fleet=1")
    subjects = ["the sea", "chess", "vaccines", "bread", "the moon", "bicycles", "honey", "trains"]
    prompts = [f"Tell me everything about {subject}." for subject in subjects]
    requests = [Request(f"r{i}") for i in range(len(prompts))]

    def distinct_bigrams():
        options = {"max_new_tokens": 120, "top_p": 1.0, "temperature": 1.0}
        _, responses, _ = generate(smollm2, Sampler(epoch), requests, prompts, **options)
        long = [r.tracker.tokens for r in responses if len(r.tracker.tokens) > 60]
        return [len(set(itertools.pairwise(t))) / (len(t) - 1) for t in long], responses

    with_rule, responses = distinct_bigrams()
    assert sum((r.counts for r in responses), Counter())["repeated"] > 50
    monkeypatch.setattr(Tracker, "is_used", lambda self, window: False)
    without_rule, _ = distinct_bigrams()
    assert min(with_rule) > 0.8
    assert np.median(without_rule) < 0.7


def test_beam_search_and_wrong_row_counts_are_refused(smollm2):
    sampler, requests = Sampler(make_epoch()), [Request(f"r{i}") for i in range(len(PROMPTS))]
    with pytest.raises(Error, match="8 rows are decoded for 4 requests") as caught:
        generate(smollm2, sampler, requests, num_beams=2, max_new_tokens=4)
    assert "beam search" in caught.value.hint
    requests = [Request(f"r{i}") for i in range(2 * len(PROMPTS))]
    with pytest.raises(Error, match=r"no longer continues the answer|where \d+ was drawn"):
        generate(smollm2, sampler, requests, num_beams=2, max_new_tokens=20)
    with pytest.raises(Error, match="two rows have the same request id"):
        generate(smollm2, sampler, [Request("same")] * len(PROMPTS))


def test_several_answers_per_prompt(smollm2):
    requests = [Request(f"r{i}") for i in range(2)]
    _, responses, _ = generate(smollm2, Sampler(make_epoch()), requests, PROMPTS[2:3], num_return_sequences=2)
    assert responses[0].tracker.tokens != responses[1].tracker.tokens


def test_configuration_never_shows_a_key(smollm2):
    epoch = make_epoch()
    _, _, config = generate(smollm2, Sampler(epoch), [Request("a")], PROMPTS[:1], max_new_tokens=3)
    shown = f"{config!r} {config.to_json_string()} {config.to_dict()} {dict(config)} {vars(config)}"
    assert epoch.id in shown
    for secret in (epoch.secret, epoch.value_key("fleet").value, epoch.value_key("fleet").selector):
        assert secret.reveal().hex() not in shown
        assert repr(secret.reveal())[2:-1] not in shown
    assert copy.deepcopy(config) is config


def test_prompt_lookup_gives_the_same_answer_or_an_error(smollm2):
    """A rejected guess in the row would be a window that the answer never had."""
    options = {"max_new_tokens": 60}
    plain, _, _ = generate(smollm2, Sampler(make_epoch()), [Request("a")], PROMPTS[1:2], **options)
    options |= {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1}
    with suppress(Error):
        drawn, responses, _ = generate(smollm2, Sampler(make_epoch()), [Request("a")], PROMPTS[1:2], **options)
        assert drawn.tolist() == plain.tolist()
        assert responses[0].tracker.tokens == plain[0].tolist()


def test_a_row_that_takes_another_token_is_refused():
    import torch

    from watermark.engines.transformers import RadiolabelLogitsProcessor

    sampler = Sampler(make_epoch())
    processor = RadiolabelLogitsProcessor(
        *(sampler, [sampler.start(Request("a"))]), end_token_ids=frozenset({2}), pad_token_id=3
    )
    prompt = torch.tensor([[5, 6]])
    drawn = int(processor(prompt, torch.zeros(1, 10)).argmax())
    other = next(t for t in range(4, 10) if t != drawn)
    with pytest.raises(Error, match=f"row 0 took token {other} where {drawn} was drawn"):
        processor(torch.tensor([[5, 6, other]]), torch.zeros(1, 10))


def test_stop_strings_end_a_row(smollm2):
    requests = [Request("a"), Request("b")]
    drawn, responses, _ = generate(
        *(smollm2, Sampler(make_epoch()), requests, [PROMPTS[2], PROMPTS[1]]),
        **{"stop_strings": [" the"], "tokenizer": smollm2.tokenizer},
    )
    for row, response in zip(drawn, responses, strict=True):
        length = len(response.tracker.tokens)
        assert response.tracker.tokens == row[:length].tolist()
        assert set(row[length:].tolist()) <= {smollm2.tokenizer.pad_token_id}


def test_a_configuration_serves_one_call(smollm2):
    _, _, config = generate(smollm2, Sampler(make_epoch()), [Request("a")], PROMPTS[:1], max_new_tokens=3)
    with pytest.raises(Error, match="was used before"):
        config.construct_processor(49_152, "cpu")
