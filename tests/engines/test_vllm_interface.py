"""The plugin against vLLM's own classes: loaders, persistent batch, sampler, validation; no server, no model."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time
from collections import Counter

import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.keyfile import write_key
from watermark.sampling import Request, Sampler
from watermark.serving.tickets import Ticket, mint

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vllm in this interpreter: make vllm"),
    pytest.mark.filterwarnings("ignore"),
]

V = 512
NAME = "watermark.engines.vllm:Radiolabel"
EPOCH = make_epoch(3, shares="fleet=0.4,account=0.4,leaf=0.2")
RULES = [
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 20},
    {"temperature": 0.9, "min_p": 0.05},
    {"temperature": 1.1, "top_k": 50, "top_p": 0.8, "min_p": 0.01},
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("tiny")
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaConfig(
        vocab_size=V, max_position_embeddings=256, eos_token_id=2, architectures=["LlamaForCausalLM"], **small
    ).save_pretrained(folder)
    from vllm.engine.arg_utils import EngineArgs

    arguments = {"skip_tokenizer_init": True, "max_num_seqs": 64, "max_model_len": 128, "logits_processors": [NAME]}
    return EngineArgs(model=str(folder), **arguments).create_engine_config()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings in the environment; a key that they name."""
    from watermark.engines import vllm

    write_key(EPOCH, tmp_path / "e.key")
    for name in [name for name in os.environ if name.startswith("RADIOLABEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RADIOLABEL_KEYS", str(tmp_path))
    monkeypatch.setenv("RADIOLABEL_MODE", "enforce")
    monkeypatch.setenv("RADIOLABEL_RELOAD_SECONDS", "0")
    vllm._door.cache_clear()
    monkeypatch.setattr(vllm.Radiolabel, "_first", None)
    return monkeypatch.setenv


def ticket(request: str, account: str = "a", *, epoch=EPOCH, seconds: int = 600) -> str:
    expires = int(time.time()) + seconds
    return mint(epoch.gateway_key(), Ticket(epoch=epoch.name, request=request, account=account, expires=expires))


def parameters(text: object = None, **options):
    from vllm import SamplingParams

    extra = {} if text is None else {"radiolabel": text}
    made = SamplingParams(**{"temperature": 1.0, "extra_args": extra} | options)
    made.update_from_generation_config({}, 2)
    return made


class Engine:
    """vLLM's persistent batch and sampler around one plugin, with logits that depend on request and position."""

    def __init__(self, config, *, rows: int = 64) -> None:
        import torch
        from vllm.v1.sample.logits_processor import build_logitsprocs
        from vllm.v1.sample.sampler import Sampler as VllmSampler
        from vllm.v1.worker.gpu_input_batch import InputBatch

        device = torch.device("cpu")
        processors = build_logitsprocs(config, device, False, False, config.model_config.logits_processors)
        self.plugin = next(p for p in processors.argmax_invariant if type(p).__name__ == "Radiolabel")
        self.batch = InputBatch(
            max_num_reqs=rows,
            max_model_len=128,
            max_num_batched_tokens=1024,
            device=device,
            vocab_size=V,
            block_sizes=[16],
            max_num_blocks_per_req=[8],
            logitsprocs=processors,
        )
        self.sampler, self.requests = VllmSampler(), {}

    def new(self, name: str, params) -> None:
        from vllm.v1.worker.gpu_input_batch import CachedRequestState

        self.requests[name] = CachedRequestState(
            req_id=name,
            prompt_token_ids=[1, 5, 6],
            mm_features=[],
            sampling_params=params,
            generator=None,
            block_ids=([0],),
            num_computed_tokens=0,
            output_token_ids=[],
        )

    def step(self, *, leave=(), enter=(), swap=(), discard=(), logits=None) -> dict[str, int]:
        """One engine step; what each request drew. `discard` are prompts that are still being read."""
        import torch

        for name in leave:
            self.batch.remove_request(name)
        for name in enter:
            self.batch.add_request(self.requests[name])
        self.batch.condense()
        for a, b in swap:
            self.batch.swap_states(self.batch.req_id_to_index[a], self.batch.req_id_to_index[b])
        self.batch.refresh_metadata()
        names = list(self.batch.req_ids)
        if not names:
            return {}
        rows = [logits if logits is not None else self.logits(name) for name in names]
        output = self.sampler(torch.from_numpy(np.stack(rows)), self.batch.sampling_metadata)
        drawn = dict(zip(names, output.sampled_token_ids[:, 0].tolist(), strict=True))
        for name, token in drawn.items():
            if name not in discard:
                self.requests[name].output_token_ids.append(token)
        return drawn

    def logits(self, name: str) -> np.ndarray:
        seed = abs(hash((name, len(self.requests[name].output_token_ids)))) % 2**32
        return (np.random.default_rng(seed).normal(size=V) * 3).astype(np.float32)


def truncated(logits: np.ndarray, params) -> np.ndarray:
    """One row as vLLM's own functions leave it: (1, len(logits))."""
    import torch
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

    row = torch.from_numpy(logits[None].copy()).div_(torch.tensor([[params.temperature]]))
    if params.min_p:
        p = row.softmax(-1)
        row.masked_fill_(p < p.amax(-1, keepdim=True).mul_(torch.tensor(params.min_p)), -torch.inf)
    k = torch.tensor([params.top_k]) if 0 < params.top_k < len(logits) else None
    p = torch.tensor([params.top_p]) if params.top_p < 1 else None
    return apply_top_k_top_p_pytorch(row, k, p).numpy()


@pytest.mark.parametrize("seed", range(4))
def test_keys_are_never_mixed(config, settings, seed):
    """64 rows over 16 accounts; requests enter, leave, are interrupted, resumed and swapped in random order."""
    engine, rng, reference = Engine(config), np.random.default_rng(seed), Sampler(EPOCH)
    expected, params, running, interrupted, number = {}, {}, set(), set(), 0
    counts = Counter()
    for _ in range(60):
        leave, enter, swap = [], [], []
        for name in sorted(running):
            chance = rng.random()
            if chance < 0.06:
                leave.append(name)
                counts["ended"] += 1
            elif chance < 0.16:
                leave.append(name)
                interrupted.add(name)
                counts["interrupted"] += 1
        running -= set(leave)
        for name in sorted(interrupted):
            if rng.random() < 0.4 and len(running) + len(enter) < 60:
                enter.append(name)
        interrupted -= set(enter)
        while len(running) + len(enter) < 60 and rng.random() < 0.8:
            name, account = f"r{number}", f"acct-{number % 16}"
            params[name] = parameters(ticket(name, account), **RULES[int(rng.integers(5))])
            expected[name] = reference.start(Request(name, account=account))
            engine.new(name, params[name])
            enter.append(name)
            number += 1
        rng.shuffle(enter)
        running |= set(enter)
        names = sorted(running)
        if len(names) > 1:
            swap = [tuple(rng.choice(names, 2, replace=False)) for _ in range(int(rng.integers(4)))]
        discard = {name for name in enter if rng.random() < 0.3}
        before = {name: truncated(engine.logits(name), params[name]) for name in names}
        drawn = engine.step(leave=leave, enter=enter, swap=swap, discard=discard)
        assert set(drawn) == running
        for name, token in drawn.items():
            response = expected[name]
            if not response.tracker.tokens and name not in discard:
                # An answer that was thrown away before its first token begins under the next number.
                index = engine.batch.req_id_to_index[name]
                request = engine.plugin._batch.rows[index][0].response.request
                assert request.id.split(".")[0] == name
                assert request.account == response.request.account
                response = expected[name] = reference.start(request)
            if name not in discard:
                ((wanted, fate),) = reference.propose([response], before[name])
                assert token == wanted, name
                response.take(token, fate)
                counts[fate] += 1
    assert number > 64
    assert min(counts[x] for x in ("ended", "interrupted", "fleet", "account", "leaf", "first_h")) > 20
    ids = [r.request.id for r in expected.values()]
    assert len(set(ids)) == len(ids)


def test_one_change_that_removes_adds_and_swaps_at_once(config, settings):
    engine = Engine(config)
    for name in "abcdef":
        engine.new(name, parameters(ticket(name, f"acct-{name}")))
    engine.step(enter="abcd")
    engine.step(leave="b", enter="e")  # e takes b's row
    engine.step(leave="ac", enter="b", swap=[("d", "b")])  # b comes back, rows are condensed
    engine.step(leave="d", enter="d")  # leaves and enters in one change
    for name, index in engine.batch.req_id_to_index.items():
        row, tokens = engine.plugin._batch.rows[index]
        assert row.response.request == Request(name, account=f"acct-{name}")
        assert tokens is engine.requests[name].output_token_ids
    assert len(engine.plugin._batch.rows) == len(engine.batch.req_id_to_index)


@pytest.mark.parametrize("rule", RULES)
def test_truncation_keeps_the_tokens_that_vllm_keeps(rule):
    import torch

    from watermark.engines.vllm_truncation import Rule, temper, truncate

    params = parameters(**rule)
    rng = np.random.default_rng(1)
    for spread in (0.3, 1, 3, 8):
        for ties in (False, True):
            rows = (rng.normal(size=(12, V * 8)) * spread).astype(np.float32)
            rows = np.round(rows * 4) / 4 if ties else rows
            rules = [Rule.of(params, V * 8)] * len(rows)
            tempered = temper(torch.from_numpy(rows), rules)
            mine = np.full(rows.shape, -np.inf, dtype=np.float32)
            for row, found in zip(mine, truncate(tempered, rules), strict=True):
                ids, values = found.compact()
                row[ids] = values
                assert found.count == len(ids)
            theirs = np.concatenate([truncated(row, params) for row in rows])
            # Which of equal logits at the edge of top-p stay depends on vLLM's unstable sort; how many does not.
            assert np.array_equal(np.sort(mine, axis=1), np.sort(theirs, axis=1))
            if not ties:
                assert np.array_equal(mine, theirs)
            assert np.isfinite(mine).any(axis=1).all()


@pytest.mark.parametrize(("spread", "rule"), [(1e3, {}), (4e5, {"top_k": 20}), (1e7, {}), (1e20, {"top_k": 20})])
def test_the_token_survives_beside_logits_of_any_size(config, settings, spread, rule):
    engine, wanted = Engine(config), Sampler(EPOCH).start(Request("a", account="a"))
    engine.new("a", parameters(ticket("a"), **rule))
    for step in range(8):
        row = (np.random.default_rng(step).normal(size=V) * spread).astype(np.float32)
        row[:4] = row.max() - np.arange(4, dtype=np.float32)  # more than one token to choose from
        drawn = engine.step(enter="a" if step == 0 else "", logits=row)["a"]
        assert drawn == Sampler(EPOCH).draw([wanted], truncated(row, parameters(**rule)))[0]


@pytest.mark.parametrize("bad_first", [True, False])
def test_a_row_that_is_not_a_number_ends_its_answer_and_leaves_the_others_alone(config, settings, bad_first):
    engine, wanted = Engine(config), Sampler(EPOCH).start(Request("good", account="a"))
    names = ["bad", "good"] if bad_first else ["good", "bad"]
    for name in names:
        engine.new(name, parameters(ticket(name)))
    good = np.full(V, -5e6, dtype=np.float32)
    good[10:18] = 2e6 + np.arange(8, dtype=np.float32) / 2
    for step in range(6):
        rows = {"good": good, "bad": np.where(np.arange(V) == 7, np.nan, 0).astype(np.float32)}
        engine.logits = rows.__getitem__
        drawn = engine.step(enter=names if step == 0 else [])
        assert drawn["good"] == Sampler(EPOCH).draw([wanted], truncated(good, parameters()))[0]
        assert drawn["bad"] == 2  # the end token


def test_the_law_of_a_token_over_random_keys_is_the_models_own(config, settings, tmp_path):
    """Chi-square at a leaf position and at a keyed one, each over 4,096 accounts' keys."""
    from scipy.stats import chisquare

    epoch = make_epoch(9, shares="account=1")
    (tmp_path / "e.key").unlink()
    write_key(epoch, tmp_path / "f.key")
    engine = Engine(config)
    logits = np.full(V, -np.inf, dtype=np.float32)
    logits[10:18] = np.linspace(0, 2, 8)
    law = np.exp(logits[10:18].astype(float) / 0.8)
    law /= law.sum()
    first, fourth = Counter(), Counter()
    for batch in range(64):
        names = [f"b{batch}-{i}" for i in range(64)]
        for name in names:
            engine.new(name, parameters(ticket(name, name, epoch=epoch), temperature=0.8))
        engine.step(enter=names, logits=logits)
        for _ in range(3):
            engine.step(logits=logits)
        for name in names:
            tokens = engine.requests.pop(name).output_token_ids
            first[tokens[0]] += 1
            fourth[tokens[3]] += 1
            engine.batch.remove_request(name)
        engine.batch.condense()
        engine.batch.refresh_metadata()
    for seen in (first, fourth):
        observed = [seen[token] for token in range(10, 18)]
        assert sum(observed) == 4096
        assert chisquare(observed, law * 4096).pvalue > 0.001


def test_greedy_rows_are_left_alone_and_counted_beside_marked_ones(config, settings):
    engine = Engine(config)
    engine.new("g", parameters(ticket("g"), temperature=0))
    engine.new("m", parameters(ticket("m")))
    engine.plugin._service.metrics.tokens = (seen := Tokens()).tokens
    for step in range(5):
        best = int(engine.logits("g").argmax())
        assert engine.step(enter=["g", "m"] if step == 0 else [])["g"] == best
    engine.step(leave=["g", "m"])
    assert seen.counts["greedy"] == 5
    assert sum(seen.counts.values()) == 10


class Tokens:
    def __init__(self) -> None:
        self.counts = Counter()

    def tokens(self, counts) -> None:
        self.counts.update(counts)


def test_a_placeholder_ends_the_engine_in_strict_mode(config, settings):
    from watermark.errors import Error

    engine = Engine(config)
    for name in "ab":
        engine.new(name, parameters(ticket(name)))
    engine.step(enter="ab")
    engine.requests["a"].output_token_ids[-1] = -1
    with pytest.raises(Error, match="placeholder instead of a token in 1 answers"):
        engine.step()


def test_a_placeholder_is_counted_and_never_marked_on_otherwise(config, settings):
    settings("RADIOLABEL_STRICT", "false")
    engine, seen = Engine(config), []
    engine.plugin._service.metrics.placeholders = seen.append
    for name in "ab":
        engine.new(name, parameters(ticket(name)))
    for step in range(4):
        engine.step(enter="ab" if step == 0 else "")
    real, engine.requests["a"].output_token_ids[-1] = engine.requests["a"].output_token_ids[-1], -1
    row = engine.plugin._batch.rows[engine.batch.req_id_to_index["a"]][0]
    engine.step()
    assert seen == [1]
    assert len(row.response.tracker.tokens) == 3  # nothing after the placeholder
    engine.requests["a"].output_token_ids[3] = real  # the engine learns it, and the answer goes on
    engine.step()
    assert row.response.tracker.tokens == engine.requests["a"].output_token_ids[:-1]
    assert row.response.counts["unmarked"] == 1
    assert seen == [1]


def test_asynchronous_scheduling_without_real_tokens_is_refused_at_start(config, settings):
    from vllm.v1.sample.logits_processor import build_logitsprocs

    from watermark.engines.vllm import Radiolabel, check_engine
    from watermark.errors import SettingsError
    from watermark.serving.settings import Settings

    scheduler = _with(config.scheduler_config, async_scheduling=True)
    changed = _with(config, scheduler_config=scheduler)
    check_engine(changed, Settings.load(), v2=False)  # named on the command line: vLLM shows real tokens
    unnamed = _with(changed, model_config=_with(config.model_config, logits_processors=None))
    with pytest.raises(SettingsError, match="asynchronous scheduling"):
        check_engine(unnamed, Settings.load(), v2=False)
    check_engine(unnamed, Settings.load(), v2=True)
    with pytest.raises(SettingsError, match="speculative"):
        check_engine(_with(config, speculative_config=object()), Settings.load(), v2=True)
    with pytest.raises(ValueError, match="not supported when speculative"):  # vLLM's own refusal, if we are named
        build_logitsprocs(_with(config, speculative_config=object()), "cpu", False, False, [NAME])
    with pytest.raises(SettingsError, match="own watermark"):
        check_engine(_with(config, watermark_config=object()), Settings.load(), v2=True)
    assert Radiolabel._first is None


def _with(config, **changes):
    import copy

    made = copy.copy(config)
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


def test_bad_settings_and_bad_keys_stop_the_engine(config, settings, tmp_path):
    from watermark.errors import Error

    settings("RADIOLABEL_MODE", "sometimes")
    with pytest.raises(Error, match="mode"):
        Engine(config)
    settings("RADIOLABEL_MODE", "default-on")
    settings("RADIOLABEL_ANONYMOUS_EPOCH", "other")
    with pytest.raises(Error, match="other"):
        Engine(config)
    (tmp_path / "e.key").chmod(0o644)
    settings("RADIOLABEL_MODE", "enforce")
    with pytest.raises(Error, match="no epoch key"):
        Engine(config)


def test_installed_and_named_is_still_one_plugin(config, settings, tmp_path, monkeypatch):
    from vllm.v1.sample.logits_processor import LogitsProcessors, _load_custom_logitsprocs

    from tests.vllm_server import install_entry_point

    install_entry_point(tmp_path / "path")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    classes = [c for c in _load_custom_logitsprocs([NAME]) if c.__name__ == "Radiolabel"]
    assert len(classes) >= 2
    engine = Engine(config)
    plugins = [p for p in engine.batch.logitsprocs.argmax_invariant if type(p) is classes[0]]
    assert [p._idle for p in plugins] == [False] + [True] * (len(plugins) - 1)
    assert len(plugins) == len(classes)
    engine.new("a", parameters(ticket("a")))
    wanted = Sampler(EPOCH).start(Request("a", account="a"))
    for step in range(6):
        row = truncated(engine.logits("a"), parameters())
        assert engine.step(enter="a" if step == 0 else "")["a"] == Sampler(EPOCH).draw([wanted], row)[0]
    assert isinstance(engine.batch.logitsprocs, LogitsProcessors)


def test_the_door_answers_as_the_worker_would(config, settings):
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.sample.logits_processor import validate_logits_processors_parameters

    def check(params) -> None:
        validate_logits_processors_parameters([NAME], params)

    check(parameters(ticket("x")))
    check(parameters(ticket("x")))  # nothing is used up
    bad = [None, "", "off", 0, ["off"], False, ticket("x", seconds=-1), ticket("x", epoch=make_epoch(4)), "rl1.a.b"]
    for text in bad:
        with pytest.raises(VLLMValidationError, match="ticket"):
            check(parameters(text))


@pytest.mark.parametrize(
    ("mode", "on_bad", "text", "status"),
    [
        ("opt-in", "refuse", None, "unmarked"),
        ("default-on", "refuse", None, "leaf"),
        ("enforce", "unmarked", "off", "unmarked"),
        ("opt-in", "unmarked", "off", "unmarked"),
    ],
)
def test_modes_in_the_worker(config, settings, mode, on_bad, text, status):
    settings("RADIOLABEL_MODE", mode)
    settings("RADIOLABEL_ON_BAD_TICKET", on_bad)
    settings("RADIOLABEL_ANONYMOUS_EPOCH", EPOCH.name)
    settings("RADIOLABEL_ANONYMOUS_ACCOUNT", "nobody")
    engine = Engine(config)
    engine.plugin._service.metrics.tokens = (seen := Tokens()).tokens
    for number in range(8):
        engine.new(f"n{number}", parameters(text))
    for step in range(8):
        engine.step(enter=list(engine.requests) if step == 0 else [])
    rows = [row for row, _ in engine.plugin._batch.rows.values()]
    engine.step(leave=list(engine.requests))
    assert seen.counts[status] >= 3
    assert sum(seen.counts.values()) == 64
    if mode == "default-on":
        requests = [row.response.request for row in rows]
        assert {r.account for r in requests} == {"nobody"}
        assert len({r.id for r in requests}) == 8
        assert seen.counts["unmarked"] == 0


def test_what_slips_past_the_door_gets_the_end_token_and_nothing_else(config, settings):
    engine = Engine(config)
    engine.new("bad", parameters("off"))
    engine.new("good", parameters(ticket("good")))
    for step in range(4):
        drawn = engine.step(enter=["bad", "good"] if step == 0 else [])
        assert drawn["bad"] == 2
    assert len(set(engine.requests["good"].output_token_ids)) > 1


def test_a_row_without_a_candidate_ends_alone(config, settings):
    engine = Engine(config)
    engine.new("none", parameters(ticket("none"), allowed_token_ids=[2], min_tokens=3))
    engine.new("good", parameters(ticket("good")))
    wanted = Sampler(EPOCH).start(Request("good", account="a"))
    for step in range(3):
        row = truncated(engine.logits("good"), parameters())
        drawn = engine.step(enter=["none", "good"] if step == 0 else [])
        assert drawn["none"] == 2
        assert drawn["good"] == Sampler(EPOCH).draw([wanted], row)[0]


def test_a_key_that_arrives_later_serves_without_a_restart(config, settings, tmp_path):
    engine, late = Engine(config), make_epoch(3, shares="fleet=1")
    late = dataclasses.replace(make_epoch(7, shares="fleet=1"), name="late")
    engine.new("early", parameters(ticket("early", epoch=late)))
    assert engine.step(enter=["early"])["early"] == 2  # unknown epoch
    write_key(late, tmp_path / "late.key")
    (tmp_path / "e.key").unlink()
    engine.new("old", parameters(ticket("old")))
    engine.step(enter=["old"], leave=["early"])
    engine.plugin._service.look()
    engine.new("new", parameters(ticket("new", epoch=late)))
    wanted = Sampler(EPOCH).start(Request("old", account="a"))
    wanted.take(engine.requests["old"].output_token_ids[0], "first_h")
    for step in range(5):
        row = truncated(engine.logits("old"), parameters())
        assert engine.step(enter=["new"] if step == 0 else [])["old"] == Sampler(EPOCH).draw([wanted], row)[0]
    index = engine.batch.req_id_to_index["new"]
    assert engine.plugin._batch.rows[index][0].sampler.epoch == late


def test_installed_and_not_switched_on_is_off(config, settings, monkeypatch):
    import torch

    from watermark.engines.vllm import Radiolabel
    from watermark.errors import SettingsError

    unnamed, device = (
        _with(config, model_config=_with(config.model_config, logits_processors=None)),
        torch.device("cpu"),
    )
    for name in ("RADIOLABEL_KEYS", "RADIOLABEL_MODE"):
        monkeypatch.delenv(name)
    plugin, logits = Radiolabel(unnamed, device, False), torch.zeros(2, V)
    plugin.update_state(None)
    assert torch.equal(plugin.apply(logits.clone()), logits)
    Radiolabel.validate_params(parameters())
    with pytest.raises(SettingsError, match="keys is not set"):
        Radiolabel(config, device, False)  # named on the command line
    monkeypatch.setenv("RADIOLABEL_MODE", "enforce")
    with pytest.raises(SettingsError, match="keys is not set"):
        Radiolabel(unnamed, device, False)  # half of the settings
