"""The plugin as Model Runner V2 loads and calls it: vLLM's own loader, request state and context, with CPU tensors.

What is not run here: the runner itself, whose kernels need Triton.
"""

from __future__ import annotations

import importlib.util
from collections import Counter

import numpy as np
import pytest

from tests.conftest import make_epoch
from tests.engines.test_vllm_interface import (
    EPOCH,
    NAME,
    RULES,
    Tokens,
    V,
    config,  # noqa: F401
    parameters,
    settings,  # noqa: F401
    ticket,
    truncated,
)
from watermark.sampling import Request, Sampler

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vllm in this interpreter: make vllm"),
    pytest.mark.filterwarnings("ignore"),
]
PROMPT = 3


@pytest.fixture(autouse=True)
def _no_pinned_memory(monkeypatch):
    # vLLM for CPUs believes in pinned memory, which torch has only with an accelerator.
    from vllm.v1.worker.gpu import buffer_utils

    monkeypatch.setattr(buffer_utils, "is_uva_available", lambda: False)


class Runner:
    """What the runner does around its logits processors, with its own RequestState and LogitsContext."""

    def __init__(self, config, *, rows: int = 16) -> None:  # noqa: F811
        import torch
        from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors
        from vllm.v1.worker.gpu.states import RequestState

        self.states = RequestState(rows, 64, 1024, 0, V, torch.device("cpu"), use_dense_all_token_ids=True)
        # An installation with an entry point is loaded twice; the second one is idle.
        built = build_custom_logits_processors(config, self.states, False, [NAME])
        (self.plugin,) = [plugin for plugin in built if not plugin._idle]
        self.tokens: dict[str, list[int]] = {}

    def add(self, name: str, params, output=()) -> None:
        """A request enters, with what it holds already if it was interrupted."""
        prompt = [1, 5, 6]
        self.states.add_request(name, PROMPT, prompt + list(output), 0, 32)
        slot = self.states.req_id_to_index[name]
        self.tokens[name] = list(output)
        self.states.all_token_ids.gpu[slot, : PROMPT + len(output)] = self._ids(prompt + list(output))
        assert self.plugin.add_request(slot, params)

    def step(self, names, rows, *, reading=()) -> dict[str, int]:
        """One step for `names`, in that order; `reading` are prompts of which only a piece was read."""
        import torch
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext

        self.plugin.apply_staged_writes()
        slots = [self.states.req_id_to_index[name] for name in names]
        position = [0 if n in reading else PROMPT + len(self.tokens[n]) - 1 for n in names]
        last = [int(self.states.all_token_ids.gpu[s, p]) for s, p in zip(slots, position, strict=True)]
        mapping = torch.tensor(slots, dtype=torch.int32)
        context = LogitsContext(
            expanded_idx_mapping=mapping,
            idx_mapping=mapping,
            idx_mapping_np=mapping.numpy(),
            expanded_local_pos=torch.zeros(len(slots), dtype=torch.int32),
            input_ids=torch.tensor(last, dtype=torch.int32),
            pos=torch.tensor(position, dtype=torch.int64),
            seq_lens_upper_bound_np=np.array(position) + 1,
        )
        logits = self.plugin.apply(torch.from_numpy(np.stack(rows)), context)
        drawn = dict(zip(names, logits.argmax(dim=1).tolist(), strict=True))
        for row, name in zip(logits, names, strict=True):
            slot = self.states.req_id_to_index[name]
            if name not in reading:
                self.tokens[name].append(drawn[name])
                self.states.all_token_ids.gpu[slot, PROMPT + len(self.tokens[name]) - 1] = drawn[name]
                assert int(row.softmax(-1).count_nonzero()) == 1 or name.startswith("plain")
        return drawn

    @staticmethod
    def _ids(values):
        import torch

        return torch.tensor(values, dtype=torch.int32)


def rows_for(names, rng):
    return [(rng.normal(size=V) * 3).astype(np.float32) for _ in names]


@pytest.mark.parametrize("seed", range(3))
def test_keys_are_never_mixed_over_slots(config, settings, seed):  # noqa: F811
    runner, rng, reference = Runner(config), np.random.default_rng(seed), Sampler(EPOCH)
    expected, params, running, interrupted, number = {}, {}, [], {}, 0
    counts = Counter()
    for _ in range(120):
        for name in list(running):
            chance = rng.random()
            if chance < 0.1:
                runner.states.remove_request(name)
                running.remove(name)
                if chance < 0.06 and len(runner.tokens[name]) > 1:
                    interrupted[name] = runner.tokens[name]
                    counts["interrupted"] += 1
        for name in list(interrupted):
            if rng.random() < 0.4 and len(running) < 14:
                runner.add(name, params[name], interrupted.pop(name))
                running.append(name)
        while len(running) < 14 and rng.random() < 0.7:
            name, account = f"r{number}", f"acct-{number % 16}"
            params[name] = parameters(ticket(name, account), **RULES[int(rng.integers(5))])
            expected[name] = reference.start(Request(name, account=account))
            runner.add(name, params[name])
            running.append(name)
            number += 1
        rng.shuffle(running)
        names = [name for name in running if rng.random() < 0.9]
        if not names:
            continue
        reading = {name for name in names if not runner.tokens[name] and rng.random() < 0.3}
        rows = rows_for(names, rng)
        before = [truncated(row, params[name]) for name, row in zip(names, rows, strict=True)]
        drawn = runner.step(names, rows, reading=reading)
        for name, row in zip(names, before, strict=True):
            if name not in reading:
                ((wanted, fate),) = reference.propose([expected[name]], row)
                assert drawn[name] == wanted, name
                expected[name].take(wanted, fate)
                counts[fate] += 1
        running = [n for n in running if len(runner.tokens[n]) < 40 or runner.states.remove_request(n) is None]
    assert number > 30
    assert min(counts[x] for x in ("interrupted", "fleet", "account", "leaf", "first_h")) > 10


def test_temperature_and_truncation_are_those_of_the_sampler_that_follows(config, settings):  # noqa: F811
    # After the plugin V2 scales and truncates again: that changes nothing in a row that one token alone can come from.
    import torch

    from watermark.engines.vllm_truncation import Rule, temper

    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(6, V)).astype(np.float32))
    rules = [Rule(0.5, 0.0, V, 1.0), Rule(1.0, 0.1, V, 1.0)] * 3
    tempered = temper(rows.clone(), rules)
    assert torch.equal(tempered[0], rows[0] / 0.5)
    kept = rows[1] >= rows[1].max() + np.log(0.1)
    assert torch.equal(tempered[1].isfinite(), kept)
    assert torch.equal(tempered[1][kept], rows[1][kept])


def test_greedy_rows_are_left_alone_and_counted(config, settings):  # noqa: F811
    runner, rng = Runner(config), np.random.default_rng(1)
    runner.plugin._service.metrics.tokens = (seen := Tokens()).tokens
    runner.add("plain", parameters(ticket("g"), temperature=0))
    runner.add("m", parameters(ticket("m")))
    for _ in range(5):
        rows = rows_for("ab", rng)
        assert runner.step(["plain", "m"], rows)["plain"] == int(rows[0].argmax())
    for name in ("plain", "m"):
        runner.states.remove_request(name)
    runner.add("next", parameters(ticket("next")))
    runner.add("one more", parameters(ticket("one-more")))
    runner.step(["next"], rows_for("a", rng))
    assert seen.counts["greedy"] == 4  # the last token of an answer is seen when it is read on: V2 ends in silence
    assert sum(seen.counts.values()) == 9


def test_refused_rows_get_the_end_token(config, settings):  # noqa: F811
    runner, rng = Runner(config), np.random.default_rng(2)
    runner.add("bad", parameters("off"))
    runner.add("missing", parameters())
    for _ in range(3):
        assert set(runner.step(["missing", "bad"], rows_for("ab", rng)).values()) == {2}


def test_of_two_answers_that_look_alike_none_shares_a_leaf_key(config, settings):  # noqa: F811
    """n = 2, both hold the same token, one is interrupted: which one went on cannot be told, so it gets a new key."""
    runner, rng = Runner(config), np.random.default_rng(3)
    text, only = ticket("twin"), np.full(V, -np.inf, dtype=np.float32)
    only[7] = 0
    for name in "ab":
        runner.add(name, parameters(text))
    runner.step("ab", [only, only])
    runner.step("ab", [only, only])
    runner.states.remove_request("b")
    runner.add("other", parameters(ticket("other")))  # takes the slot
    runner.add("b", parameters(text), [7, 7])
    runner.step(["a", "b", "other"], rows_for("abc", rng))
    names = [row.response.request.id for row, _ in runner.plugin._slots.slots.values()]
    assert len(set(names)) == len(names)
    assert sorted(names) == ["other", "twin", "twin.2"]


def test_the_front_end_validates_with_the_same_class(config, settings):  # noqa: F811
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors_params_validator

    validate = build_custom_logits_processors_params_validator([NAME])
    validate(parameters(ticket("x")))
    for text in (None, "off", ticket("x", epoch=make_epoch(4)), ticket("x", seconds=-1)):
        with pytest.raises(VLLMValidationError, match="ticket"):
            validate(parameters(text))
