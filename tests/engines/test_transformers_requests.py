"""What requests do to transformers' sampler: greedy, beams, constraints, stopping, scores, several answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.conftest import make_epoch
from tests.engines.test_transformers import PROMPTS, encode
from tests.engines.test_transformers import generate as with_config
from verify.hypotheses.closed import log10_p
from verify.scoring import score, summarize
from watermark.errors import Error
from watermark.sampling import Request, Sampler
from watermark.windows import TokenBatch

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

SAMPLED = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "top_k": 0, "max_new_tokens": 12}


@pytest.fixture
def sampler():
    return Sampler(make_epoch(shares="fleet=1"))


def generate(model, sampler, prompts=PROMPTS, requests=None, **options):
    import torch

    from watermark.engines.transformers import generate

    encoded = encode(model, prompts)
    requests = requests or [Request(f"r{i}") for i in range(len(prompts))]
    options = {"pad_token_id": model.tokenizer.pad_token_id} | SAMPLED | options
    with torch.inference_mode():
        return generate(model.model, sampler, requests, **encoded, **options), encoded.input_ids.shape[1]


def test_the_function_draws_as_the_configuration_does(smollm2, sampler):
    marked, length = generate(smollm2, sampler)
    drawn, responses, _ = with_config(smollm2, sampler, [Request(f"r{i}") for i in range(4)], max_new_tokens=12)
    assert marked.output[:, length:].tolist() == drawn.tolist()
    assert [r.tracker.tokens for r in marked.responses] == [r.tracker.tokens for r in responses]


def test_greedy_is_counted_and_changes_nothing(smollm2, sampler):
    import torch
    from transformers import GenerationConfig

    encoded = encode(smollm2, PROMPTS)
    with torch.inference_mode():
        plain = smollm2.model.generate(**encoded, do_sample=False, max_new_tokens=24, pad_token_id=2)
    as_file = GenerationConfig(do_sample=False, max_new_tokens=24, pad_token_id=2)
    greedy = dict.fromkeys(("temperature", "top_p", "top_k"))
    for options in ({"do_sample": False} | greedy, {"generation_config": as_file, "do_sample": None} | greedy):
        marked, length = generate(smollm2, sampler, max_new_tokens=24, **options)
        assert marked.output.tolist() == plain.tolist()
        for response, row in zip(marked.responses, plain[:, length:].tolist(), strict=True):
            end = row.index(2) + 1 if 2 in row else len(row)
            assert response.counts == {"greedy": end}
            assert response.tracker.tokens == row[:end]
    assert any(2 in row for row in plain[:, length:].tolist()), "no answer ended early"


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"num_beams": 2}, "beam_sample"),
        ({"num_beams": 2, "do_sample": False}, "beam_search"),
        ({"prompt_lookup_num_tokens": 3}, "assisted_generation"),
        ({"penalty_alpha": 0.6, "top_k": 4, "do_sample": False}, "contrastive_search"),
    ],
)
def test_other_ways_of_decoding_are_refused(smollm2, sampler, options, mode):
    with pytest.raises(Error, match=f"generation mode '{mode}' cannot be marked"):
        generate(smollm2, sampler, **options)


def test_an_assistant_is_refused_both_ways(smollm2, sampler):
    with pytest.raises(Error, match="'assisted_generation' cannot be marked"):
        generate(smollm2, sampler, PROMPTS[:1], assistant_model=smollm2.model)
    with pytest.raises(Error, match="used before") as caught:
        with_config(smollm2, sampler, [Request("a")], PROMPTS[:1], assistant_model=smollm2.model)
    assert "assistant" in caught.value.hint


def test_prompt_lookup_is_refused_as_soon_as_it_looks(smollm2, sampler):
    options = {"prompt_lookup_num_tokens": 3, "max_matching_ngram_size": 1, "max_new_tokens": 30}
    with pytest.raises(Error, match=r"position \d+ was asked for twice"):
        with_config(smollm2, sampler, [Request("a")], PROMPTS[1:2], **options)


def test_a_grammar_leaves_the_mark_its_choices_and_forced_tokens_are_counted(smollm2, sampler):
    ids = smollm2.tokenizer.convert_tokens_to_ids
    bracket, comma, digits = ids("["), ids(","), [ids(str(d)) for d in range(10)]

    def allowed(row, tokens):  # [d,d,d,...: every other token is forced
        place = len(tokens) - start
        return [bracket] if place == 0 else digits if place % 2 else [comma]

    start = encode(smollm2, PROMPTS[:2]).input_ids.shape[1]
    options = {"prefix_allowed_tokens_fn": allowed, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 21}
    marked, _ = generate(smollm2, sampler, PROMPTS[:2], **options)
    for response in marked.responses:
        assert response.tracker.tokens[0] == bracket
        assert response.tracker.tokens[2::2] == [comma] * 10
        assert set(response.tracker.tokens[1::2]) <= set(digits)
        assert response.forced == 11
        assert sum(response.counts.values()) == 21


def test_a_stopping_criterion_ends_a_row(smollm2, sampler):
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class First(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            done = torch.zeros(len(input_ids), dtype=torch.bool)
            done[0] = input_ids.shape[1] >= length + 5
            return done

    _, length = generate(smollm2, sampler, max_new_tokens=1)
    marked, _ = generate(smollm2, sampler, stopping_criteria=StoppingCriteriaList([First()]))
    assert [len(r.tracker.tokens) for r in marked.responses[:3]] == [5, 12, 12]
    assert set(marked.output[0, length + 5 :].tolist()) == {smollm2.tokenizer.pad_token_id}


def test_scores_are_one_hot_and_logits_are_the_models(smollm2, sampler):
    import torch

    options = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    marked, length = generate(smollm2, sampler, PROMPTS[1:2], **options)
    tokens = marked.output.sequences[0, length:]
    scores, logits = torch.cat(marked.output.scores), torch.cat(marked.output.logits)
    assert scores.argmax(dim=1).tolist() == tokens.tolist() == marked.responses[0].tracker.tokens
    assert (scores > -torch.inf).sum(dim=1).tolist() == [1] * len(tokens)
    with torch.inference_mode():
        direct = smollm2.model(input_ids=marked.output.sequences[:, :-1]).logits[0, length - 1 :].float()
    assert torch.isfinite(logits).all()
    assert (logits.log_softmax(1) - direct.log_softmax(1)).abs().max() < 0.5  # bfloat16, in one pass or in many
    transitions = smollm2.model.compute_transition_scores(
        marked.output.sequences, marked.output.scores, normalize_logits=True
    )
    assert transitions.tolist() == [[0.0] * len(tokens)], "the log-probability of a one-hot row is not the model's"


def test_a_clients_seed_changes_nothing_and_several_answers_differ(smollm2):
    import torch

    sampler, drawn = Sampler(make_epoch()), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        requests = [Request("a"), Request("a.1"), Request("a.2")]
        marked, length = generate(smollm2, sampler, PROMPTS[2:3], requests, num_return_sequences=3)
        drawn.append(marked.output[:, length:].tolist())
    assert drawn[0] == drawn[1]
    assert len({tuple(row) for row in drawn[0]}) == 3
    with pytest.raises(Error, match="3 rows are decoded for 1 requests"):
        generate(smollm2, sampler, PROMPTS[2:3], [Request("a")], num_return_sequences=3)


def test_what_the_user_sees_of_an_answer_carries_the_mark(smollm2):
    """Thinking tokens are part of the answer that is drawn; the shown rest is scored as a document of its own."""
    epoch = make_epoch(shares="fleet=1")
    options = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 60}
    marked, _ = generate(smollm2, Sampler(epoch), PROMPTS[1:3], **options)
    shown = [np.array(r.tracker.tokens[25:], dtype=np.uint32) for r in marked.responses]
    pairs = summarize(TokenBatch.from_documents(shown), 2).pairs
    for key, found in ((epoch.value_key("fleet"), True), (make_epoch(1, shares="fleet=1").value_key("fleet"), False)):
        s = score(pairs, key)
        p = log10_p(epoch.deployment.scheme.law, s.n, s.total)
        assert p < -6 if found else p > -3


def test_the_law_of_a_token_over_random_keys_is_the_models_own():
    import torch

    from watermark.engines.transformers import RadiolabelLogitsProcessor

    p = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    scores = torch.tensor(np.log(np.append(p, 0.0) + np.append(np.zeros(5), 1e-300)), dtype=torch.float32)[None]
    scores[0, 5] = -torch.inf
    counts, draws = np.zeros(6), 3000
    for label in range(draws):
        sampler = Sampler(make_epoch(label, shares="fleet=1"))
        response = sampler.start(Request("a"))
        for token in (3, 4):
            response.take(token, "given")
        processor = RadiolabelLogitsProcessor(sampler, [response], end_token_ids=frozenset(), pad_token_id=0)
        counts[int(processor(torch.tensor([[9]]), scores).argmax())] += 1
    assert counts[5] == 0
    assert chisquare(counts[:5], draws * p).pvalue > 1e-3
