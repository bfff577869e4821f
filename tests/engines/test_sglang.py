"""The backend against SGLang's own registry, hooks, requests, batches and sampler; no server, no model, no GPU."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import time
import types
from array import array

import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.errors import Error
from watermark.keyfile import write_key
from watermark.sampling import Request, Sampler
from watermark.serving.tickets import Ticket, mint

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.skipif(importlib.util.find_spec("sglang") is None, reason="needs sglang in this interpreter"),
    pytest.mark.filterwarnings("ignore"),
]

V = 512
EPOCH = make_epoch(3, shares="fleet=0.4,account=0.4,leaf=0.2")
RULES = [
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 20},
    {"temperature": 0.9, "min_p": 0.05},
    {"temperature": 1.1, "top_k": 50, "top_p": 0.8, "min_p": 0.01},
]


def start(rank: int, ranks: int, store: str):
    """Publish a configuration of SGLang and join a real process group."""
    import transformers  # noqa: F401  looks for torchvision before it is replaced

    if importlib.util.find_spec("torchvision") is None:  # an import of image models; no wheel goes with torch for CPUs
        for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.io"):
            module = types.ModuleType(name)
            module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []
            module.InterpolationMode = type("InterpolationMode", (), {"BICUBIC": 3, "BILINEAR": 2, "NEAREST": 0})
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
    from sglang.srt.distributed import parallel_state
    from sglang.srt.runtime_context import get_context, get_parallel

    override = get_context().override_server_args(sampling_backend="radiolabel", device="cpu", tp_size=ranks)
    override.install()
    parallel_state.init_distributed_environment(
        world_size=ranks, rank=rank, local_rank=rank, distributed_init_method=f"file://{store}", backend="gloo"
    )
    parallel_state.initialize_model_parallel()
    get_parallel().override_permanently(dp_rank=None, attn_dp_rank=0)
    return override


@pytest.fixture(scope="module")
def sgl(tmp_path_factory):
    """SGLang with a process group of one."""
    import torch

    override = start(0, 1, str(tmp_path_factory.mktemp("group") / "store"))
    yield
    torch.distributed.destroy_process_group()
    override.restore()


@pytest.fixture
def settings(sgl, tmp_path, monkeypatch):
    """Settings in the environment, a key that they name, and the plugin run as SGLang runs it."""
    from sglang.srt.plugins.hook_registry import HookRegistry

    from watermark.engines import sglang

    write_key(EPOCH, tmp_path / "e.key")
    for name in [name for name in os.environ if name.startswith("RADIOLABEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RADIOLABEL_KEYS", str(tmp_path))
    monkeypatch.setenv("RADIOLABEL_MODE", "enforce")
    monkeypatch.setenv("RADIOLABEL_RELOAD_SECONDS", "0")
    sglang._door.cache_clear()
    sglang.plugin()
    HookRegistry.apply_hooks()  # a second call patches nothing twice
    return monkeypatch.setenv


def ticket(request: str, account: str = "a", *, seconds: int = 600) -> str:
    expires = int(time.time()) + seconds
    return mint(EPOCH.gateway_key(), Ticket(epoch=EPOCH.name, request=request, account=account, expires=expires))


def request(name: str, text: object = None, **options):
    from sglang.srt.managers.schedule_batch import Req
    from sglang.srt.sampling.sampling_params import SamplingParams

    extra = {} if text is None else {"custom_params": {"radiolabel": text}}
    params = SamplingParams(**{"temperature": 1.0, "max_new_tokens": 100} | extra | options)
    params.normalize(None)
    return Req(name, "", array("q", [1, 5, 6]), params, eos_token_ids={2}, vocab_size=V)


class Batch:
    """What SGLang makes sampling information from."""

    device = "cpu"

    def __init__(self, reqs) -> None:
        self.reqs = reqs


class Engine:
    """SGLang's sampling information and sampler, with logits that depend on request and position."""

    def __init__(self) -> None:
        from sglang.srt.layers.sampler import create_sampler

        self.sampler, self.batch, self.info = create_sampler(), None, None
        self.pending: list[tuple[object, int]] = []

    def enter(self, reqs) -> None:
        from sglang.srt.sampling import sampling_batch_info

        batch = Batch(list(reqs))
        info = sampling_batch_info.SamplingBatchInfo.from_schedule_batch(batch, V)
        if self.batch is None or not self.batch.reqs:
            self.batch, self.info = batch, info
        else:
            self.info.merge_batch(info)
            self.batch.reqs = self.batch.reqs + batch.reqs

    def leave(self, reqs) -> None:
        import torch

        keep = [i for i, r in enumerate(self.batch.reqs) if r not in reqs]
        self.batch.reqs = [self.batch.reqs[i] for i in keep]
        if keep:
            self.info.filter_batch(keep, torch.tensor(keep))

    def step(self, *, overlap: bool = False, reading=(), logits=None, logprobs: bool = False):
        """Draw for the whole batch; under overlap, SGLang's tokens are appended after the next draw."""
        import torch
        from sglang.srt.layers.logits_processor import LogitsProcessorOutput

        reqs = list(self.batch.reqs)
        late = {id(r): t for r, t in self.pending}
        lengths = [len(r.output_ids) + (id(r) in late) for r in reqs]
        positions = torch.tensor(
            [0 if r.rid in reading else len(r.origin_input_ids) + n - 1 for r, n in zip(reqs, lengths, strict=True)]
        )
        rows = [logits if logits is not None else row(r.rid, n) for r, n in zip(reqs, lengths, strict=True)]
        output = LogitsProcessorOutput(next_token_logits=torch.from_numpy(np.stack(rows)))
        none = [0] * len(reqs)
        tokens = self.sampler(
            output, self.info.copy_for_forward(), logprobs, none, [None] * len(reqs), positions
        ).tolist()
        self.settle()
        self.pending = [(r, t) for r, t in zip(reqs, tokens, strict=True) if r.rid not in reading]
        if not overlap:
            self.settle()
        self.output = output
        return dict(zip([r.rid for r in reqs], tokens, strict=True))

    def settle(self) -> None:
        for r, token in self.pending:
            r.output_ids.append(token)
        self.pending = []


def row(name: str, position: int) -> np.ndarray:
    seed = int.from_bytes(f"{name}-{position}".encode().rjust(16, b"\0")[-8:], "little")
    return (np.random.default_rng(seed).normal(size=V) * 3).astype(np.float32)


def kept(logits: np.ndarray, params) -> np.ndarray:
    """(1, V) log-probabilities with -inf where SGLang's rules, written out, remove."""
    import torch

    probs = torch.softmax(torch.from_numpy(logits[None].copy()).div_(torch.tensor([[params.temperature]])), -1)[0]
    left = probs.clone()
    total = 0.0
    for rank, token in enumerate(probs.argsort(descending=True).tolist()):
        if rank >= params.top_k or total > params.top_p or probs[token] < probs.max() * params.min_p:
            left[token] = 0
        total += float(probs[token])
    return left.log().numpy()[None]


@pytest.mark.parametrize("overlap", [False, True])
def test_answers_are_those_of_the_reference(settings, overlap):
    """40 answers of 8 accounts enter, leave, are retracted and go on; each is its own key's, token for token."""
    engine, rng, reference = Engine(), np.random.default_rng(5), Sampler(EPOCH)
    expected, waiting, number, retracted, drawn_at = {}, [], 0, 0, 0
    for _ in range(40):
        running = list(engine.batch.reqs) if engine.batch else []
        if overlap and rng.random() < 0.3:
            engine.settle()  # SGLang settles before it changes the batch like this
        if not engine.pending:
            gone = [r for r in running if rng.random() < 0.15]
            for r in gone:
                if rng.random() < 0.6:
                    retracted += 1
                    waiting.append(r)
            if gone:
                engine.leave(gone)
        back = [r for r in waiting if rng.random() < 0.5]
        waiting = [r for r in waiting if r not in back]
        while number < 40 and rng.random() < 0.6:
            name, account = f"r{number}", f"acct-{number % 8}"
            r = request(name, ticket(name, account), **RULES[number % 5])
            expected[name] = reference.start(Request(name, account=account))
            back.append(r)
            number += 1
        if back:
            engine.enter(back)
        if not engine.batch or not engine.batch.reqs:
            continue
        late = {id(r) for r, _ in engine.pending}
        lengths = {r.rid: len(r.output_ids) + (id(r) in late) for r in engine.batch.reqs}
        params = {r.rid: r.sampling_params for r in engine.batch.reqs}
        for name, token in engine.step(overlap=overlap).items():
            want = reference.draw([expected[name]], kept(row(name, lengths[name]), params[name]))
            assert token == want[0], (name, lengths[name])
            drawn_at += 1
    assert retracted > 3
    assert drawn_at > 150


def test_a_prompt_read_in_pieces_uses_nothing_up(settings):
    engine, reference = Engine(), Sampler(EPOCH)
    engine.enter([request("r", ticket("r"))])
    engine.step(reading={"r"})
    engine.step(reading={"r"})
    response = reference.start(Request("r", account="a"))
    for position in range(6):
        drawn = engine.step()["r"]
        assert drawn == reference.draw([response], kept(row("r", position), engine.batch.reqs[0].sampling_params))[0]


def test_refused_gets_the_end_token_and_others_are_not_touched(settings):
    engine, reference = Engine(), Sampler(EPOCH)
    engine.enter([request("bad"), request("r", ticket("r")), request("greedy", temperature=0.0)])
    response = reference.start(Request("r", account="a"))
    drawn = engine.step()
    assert drawn["bad"] == drawn["greedy"] == 2
    assert drawn["r"] == reference.draw([response], kept(row("r", 0), engine.batch.reqs[1].sampling_params))[0]


def test_greedy_answers_are_the_likeliest_tokens_and_counted(settings):
    engine = Engine()
    engine.enter([request("g", ticket("g"), temperature=0.0)])
    for position in range(3):
        assert engine.step()["g"] == row("g", position).argmax()
    r = engine.batch.reqs[0]
    r.finished_reason = object()
    engine.enter([request("other", ticket("other"))])
    engine.leave([r])
    counted = []
    engine.sampler._service.metrics.tokens = lambda counts: counted.append(dict(counts))
    engine.step()
    assert counted == [{"greedy": 1}]  # the two before were counted at later steps
    assert len(engine.sampler._answers) == 1


def test_logprobs_are_the_models_before_truncation_and_mark(settings):
    import torch

    engine = Engine()
    engine.enter([request("r", ticket("r"), temperature=0.7, top_k=5)])
    token = engine.step(logprobs=True)["r"]
    want = torch.log_softmax(torch.from_numpy(row("r", 0)) / 0.7, -1)[token]
    assert float(engine.output.next_token_logprobs[0]) == pytest.approx(float(want), abs=1e-4)


def test_the_door_refuses_with_what_becomes_http_400(settings):
    for bad in (request("a"), request("a", "rl1.x.y"), request("a", 7), request("a", ticket("a", seconds=-1))):
        with pytest.raises(ValueError, match="ticket"):
            bad.sampling_params.verify(V)
    request("a", ticket("a")).sampling_params.verify(V)
    with pytest.raises(ValueError, match="beam"):
        request("a", ticket("b"), beam_width=2).sampling_params.verify(V)


def test_another_backend_is_refused_when_the_mark_is_on(settings):
    from sglang.srt.layers.sampler import create_sampler

    with pytest.raises(Error, match="another sampling backend"):
        create_sampler("pytorch")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("speculative_algorithm", "EAGLE"),
        ("enable_watermark", True),
        ("disaggregation_mode", "decode"),
        ("dllm_algorithm", "x"),
        ("rl_on_policy_target", "fsdp"),
        ("attn_cp_size", 2),
    ],
)
def test_engine_options_that_would_leave_the_mark_out_are_refused(settings, name, value):
    from sglang.srt.runtime_context import get_server_args

    from watermark.engines.sglang import check_engine

    check_engine(get_server_args())
    known = ("speculative_algorithm", "enable_watermark", "disaggregation_mode", "dllm_algorithm", "attn_cp_size")
    args = {key: getattr(get_server_args(), key) for key in (*known, "rl_on_policy_target")}
    with pytest.raises(Error, match=name):
        check_engine(types.SimpleNamespace(**args | {name: value}))


def test_other_ranks_take_the_first_ones_tokens(settings, tmp_path):
    """Two real processes with gloo: their logits differ in every bit, and the second one has no keys at all."""
    import subprocess

    script = tmp_path / "rank.py"
    script.write_text(RANK)
    environ = dict(os.environ, PYTHONPATH=os.getcwd(), OMP_NUM_THREADS="1", TICKET=ticket("r"))
    commands = [[sys.executable, str(script), str(rank), str(tmp_path / "store")] for rank in range(2)]
    others = {k: v for k, v in environ.items() if k != "RADIOLABEL_KEYS"} | {"RADIOLABEL_KEYS": str(tmp_path / "none")}
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, env in zip(commands, (environ, others), strict=True)
    ]
    texts = [process.communicate(timeout=120) for process in running]
    found = [out.strip().splitlines()[-1] if out.strip() else err[-2000:] for out, err in texts]
    response, reference = Sampler(EPOCH).start(Request("r", account="a")), Sampler(EPOCH)
    r = request("r", ticket("r"))
    want = [int(reference.draw([response], kept(row("r", n), r.sampling_params))[0]) for n in range(8)]
    assert found == [str(want)] * 2


RANK = """
import sys
import numpy as np
import tests.engines.test_sglang as case
rank, store = int(sys.argv[1]), sys.argv[2]
case.start(rank, 2, store)
from sglang.srt.plugins.hook_registry import HookRegistry
from watermark.engines import sglang
sglang.plugin()
HookRegistry.apply_hooks()
engine = case.Engine()
import os
engine.enter([case.request("r", os.environ["TICKET"])])
print([engine.step(logits=case.row("r", n) if rank == 0 else np.zeros(case.V, np.float32))["r"] for n in range(8)])
"""
