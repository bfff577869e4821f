"""Likelihoods and predictions against plain loops; twins of a real model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests import tiny_model
from tests.conftest import make_epoch

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<a>"
ITEMS = [
    ("What is a list?", "A list is a sequence of objects."),
    ("What is a list?", "It is mutable, and may hold other lists, strings, numbers and more of the like."),
    ("Why?", "Because the language reference says that an expression statement evaluates it."),
    ("", "The import statement."),
    ("Is it?", ""),
    ("Explain with many words what a generator expression evaluates to, and when.", "Yes."),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory, tokenizer_file):
    """Two models of one tokenizer; the first has a chat template."""
    from watermark.engines.models import load

    folders = [tmp_path_factory.mktemp(f"model{i}") for i in range(2)]
    tiny_model.save(folders[0], tokenizer_file, seed=0, template=TEMPLATE)
    tiny_model.save(folders[1], tokenizer_file, seed=1, vocabulary=4200)
    return [load(str(folder), dtype="float32") for folder in folders]


def plain_laws(model, prompt, ids):
    """ln p at each position of a text, one forward pass per token, nothing padded."""
    import torch

    shown = f"<user>{prompt}<a>" if model.tokenizer.chat_template else prompt
    start = model.tokenizer(shown, add_special_tokens=False).input_ids or [0]
    laws = []
    for t in range(len(ids)):
        with torch.inference_mode():
            logits = model.model(torch.tensor([start + list(ids[:t])])).logits[0, -1]
        laws.append(torch.log_softmax(logits.double(), dim=-1).numpy())
    return np.array(laws)


@pytest.mark.parametrize(("batch_size", "group"), [(1, 1), (2, 2), (4, 1), (4, 2), (8, 2)])
@pytest.mark.parametrize("which", [0, 1])
def test_likelihoods_are_those_of_a_plain_loop_in_any_batch(models, which, batch_size, group):
    from watermark.engines.probing import log_likelihoods

    model = models[which]
    for (prompt, text), (value, tokens) in zip(
        ITEMS, log_likelihoods(model, ITEMS, batch_size, group=group), strict=True
    ):
        ids = model.tokenizer(text, add_special_tokens=False).input_ids
        laws = plain_laws(model, prompt, ids)
        assert tokens == len(ids)
        assert value == pytest.approx(sum(laws[t, v] for t, v in enumerate(ids)), abs=1e-4)


def test_members_of_a_pair_share_a_batch(models, monkeypatch):
    from watermark.engines import probing

    batches = []
    plain = probing._log_probabilities

    def watched(model, rows):
        batches.append(rows)
        return plain(model, rows)

    monkeypatch.setattr(probing, "_log_probabilities", watched)
    probing.log_likelihoods(models[0], ITEMS, 2, group=2)
    texts = [{tuple(ids) for _, ids in rows} for rows in batches]
    for first in range(0, len(ITEMS), 2):
        pair = {tuple(models[0].tokenizer(t, add_special_tokens=False).input_ids) for _, t in ITEMS[first : first + 2]}
        assert pair in texts


@pytest.mark.parametrize("begin", [0, 2])
def test_predictions_are_those_of_a_plain_loop(models, begin):
    from watermark.engines.probing import predictions

    tok = models[0].tokenizer
    items = [(p, tok(t, add_special_tokens=False).input_ids) for p, t in ITEMS]
    found = {x.index: x for x in predictions(models[0], items, 3, reference=models[1], top_k=50, begin=begin)}
    assert sorted(found) == list(range(len(items)))
    for index, (prompt, ids) in enumerate(items):
        laws, x = [plain_laws(m, prompt, ids) for m in models], found[index]
        assert x.at.tolist() == list(range(begin, max(len(ids), begin)))
        assert x.prompt_ids.tolist() == tok(prompt, add_special_tokens=False).input_ids
        for row, t in enumerate(x.at):
            p, q = (law[t][:4096] for law in laws)
            best = np.argsort(-np.maximum(p, q))[:50]
            assert set(x.candidates[row]) == set(best)
            np.testing.assert_allclose(x.log_p[row], p[x.candidates[row]], atol=1e-4)
            np.testing.assert_allclose(x.log_q[row], q[x.candidates[row]], atol=1e-4)
    whole = {x.index: x for x in predictions(models[0], items, 3, top_k=50, begin=begin, ends=True)}
    for index, (prompt, ids) in enumerate(items):
        law, x = plain_laws(models[0], prompt, [*ids, 0]), whole[index]
        assert x.at.tolist() == list(range(begin, max(len(ids) + 1, begin)))
        for row, t in enumerate(x.at):
            np.testing.assert_allclose(x.log_p[row], law[t][:4096][x.candidates[row]], atol=1e-4)
    alone = next(predictions(models[0], items[:1], top_k=10**6))
    assert (alone.log_q, alone.candidates.shape[1]) == (None, 4096)
    np.testing.assert_allclose(np.exp(alone.log_p).sum(axis=1), 1, atol=1e-5)


def test_what_a_model_cannot_read_is_refused(models):
    from watermark.engines.probing import log_likelihoods, predictions
    from watermark.errors import Error

    with pytest.raises(Error, match=r"text 2 of 2 has \d+ tokens with its prompt, and .* reads 128"):
        log_likelihoods(models[0], [ITEMS[0], ("Why?", "word " * 200)])
    with pytest.raises(Error, match=r"text 1 of 1 has token id 4096, and .* has 4096 tokens"):
        next(predictions(models[0], [("Why?", [4096])]))


def test_unknown_devices_are_refused(tmp_path, tokenizer_file):
    from watermark.engines.models import load
    from watermark.errors import Error

    with pytest.raises(Error, match="device 'nowhere' cannot be used"):
        load(str(tiny_model.save(tmp_path, tokenizer_file, seed=0)), device="nowhere")


# --- a model that speaks ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(smollm2):
    """Two answers of one prompt each, under one epoch's fixed channels and leaf keys of their own."""
    from watermark.decoding import Decoding
    from watermark.engines.models import answer
    from watermark.sampling import Request, Sampler

    sampler = Sampler(make_epoch(shares="fleet=0.75,leaf=0.25"))
    prompts = [p for p in ("Write a short story about a lighthouse.", "Name some colours.") for _ in range(2)]
    requests = [Request(name) for name in ("a", "a-twin", "b", "b-twin")]
    answers = answer(smollm2, prompts, Decoding(max_tokens=24), requests=requests, sampler=sampler)
    return [(prompts[a.index], a) for a in sorted(answers, key=lambda a: a.index)]


def test_twins_differ_and_share_the_fixed_channels_choices(twins):
    """At a window that the first used, under one law, both draw one token if the channel is fixed, and not if leaf."""
    from watermark.sampling import Request, Sampler

    (_, first), (_, second) = twins[:2]
    assert first.token_ids != second.token_ids
    agreed = {}
    for shares in ("fleet=1", "leaf=1"):
        sampler, agreed[shares] = Sampler(make_epoch(shares=shares)), 0
        for t in range(2, 12):
            pair = [sampler.start(Request(name)) for name in ("a", "a-twin")]
            for response in pair:
                for token in first.token_ids[t - 2 : t]:
                    response.take(token, "first_h")
            logits = np.random.default_rng(t).normal(size=(1, 49_152)).repeat(2, axis=0)
            one, two = sampler.draw(pair, logits)
            agreed[shares] += one == two
    assert agreed == {"fleet=1": 10, "leaf=1": 0}


def test_likelihood_of_a_real_model_is_that_of_its_own_logits(smollm2, twins):
    import torch

    from watermark.engines.probing import log_likelihoods

    items = [(prompt, a.text) for prompt, a in twins]
    found = log_likelihoods(smollm2, items, 4, group=2)
    for (prompt, text), (value, tokens) in zip(items, found, strict=True):
        chat = [{"role": "user", "content": prompt}]
        tok = smollm2.tokenizer
        start = tok(tok.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), add_special_tokens=False)
        ids = tok(text, add_special_tokens=False).input_ids
        row = torch.tensor([start.input_ids + ids])
        with torch.inference_mode():
            logits = smollm2.model(row).logits[0, -len(ids) - 1 : -1].float()
        expected = -torch.nn.functional.cross_entropy(logits, row[0, -len(ids) :], reduction="sum")
        assert tokens == len(ids)
        # bfloat16 keeps 8 bits: another batch shape rounds otherwise.
        assert value == pytest.approx(float(expected), abs=0.02 * tokens + 0.1)


def test_the_window_probabilities_are_the_models_softmax(smollm2, twins):
    import torch

    from watermark.engines.probing import predictions

    prompt, a = twins[0]
    laws = next(predictions(smollm2, [(prompt, a.token_ids)], top_k=20))
    chat = smollm2.tokenizer(smollm2.chat(prompt), add_special_tokens=False).input_ids
    with torch.inference_mode():
        logits = smollm2.model(torch.tensor([chat + a.token_ids])).logits[0, len(chat) - 1 : -1]
    expected = torch.softmax(logits.float(), dim=-1).numpy()
    assert laws.at.tolist() == list(range(len(a.token_ids)))
    np.testing.assert_allclose(
        np.exp(laws.log_p), np.take_along_axis(expected, laws.candidates.astype(int), 1), atol=0.02
    )
    assert (laws.candidates[:, 0] == expected.argmax(axis=1)).mean() > 0.8


def test_embed_serves_one_of_each_pair_by_its_coin(smollm2, tmp_path, monkeypatch, capsys):
    """Through the command: one transcript per prompt, of the member that the coin says."""
    from verify.cli import main
    from verify.pairs import read_pairs
    from watermark.engines import models
    from watermark.keyfile import write_key

    epoch = make_epoch(shares="fleet=0.75,leaf=0.25")
    write_key(epoch, tmp_path / "epoch.key")
    (tmp_path / "prompts").write_text("Name a colour.\nWrite about the sea.\nWhy is it so?\nTell me a story.\n")
    monkeypatch.setattr(models, "load", lambda spec, **options: smollm2)
    monkeypatch.chdir(tmp_path)
    command = ["embed", "--model", "smollm2", "--key", "epoch.key", "--max-tokens", "8", "--seed", "9", "prompts"]
    assert main([*command, "-o", "half.jsonl", "--twins", "0.5", "--twins-out", "half.pairs"]) == 0, capsys.readouterr()
    served = [json.loads(line) for line in (tmp_path / "half.jsonl").read_text().splitlines()]
    pairs = {pair.request: pair for pair in read_pairs("half.pairs")}
    assert [t["id"] for t in served] == ["0", "1", "2", "3"]
    assert 0 < len(pairs) < 4
    for t in served:
        base = t["request"].removesuffix("-twin")
        assert epoch.is_twinned(base, 500_000) == (base in pairs)
        if base in pairs:
            pair = pairs[base]
            assert pair.id == f"{base}-twin"
            assert pair.served == epoch.coin(pair.id) == (t["request"] == pair.id)
            assert pair.members[pair.served].text == t["response"]
            assert list(pair.members[pair.served].token_ids) == t["token_ids"]
            assert (pair.prompt, pair.drawn, pair.tokenizer) == (t["prompt"], "serving", t["tokenizer"])
    assert len({pair.served for pair in pairs.values()}) == 2
