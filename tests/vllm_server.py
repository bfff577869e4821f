"""A real vLLM server on loopback with the plugin, and the gateway that mints its tickets."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import httpx

from watermark.deployment import Deployment
from watermark.keyfile import write_key
from watermark.keys import EpochKey, MasterKey
from watermark.sampling import Request, Sampler
from watermark.serving.tickets import Ticket, mint

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2"
NAME = "watermark.engines.vllm:Radiolabel"


def interpreter() -> str | None:
    """A Python that has vLLM: the one RADIOLABEL_VLLM_PYTHON names, else this one."""
    named = os.environ.get("RADIOLABEL_VLLM_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("vllm") else None)


def save_model(folder: Path) -> Path:
    """The packaged SmolLM2 as vLLM reads it: safetensors in bfloat16."""
    import torch

    from watermark.engines.models import load

    loaded = load(MODEL)
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def install_entry_point(folder: Path) -> None:
    """What `pip install` leaves of the entry point, for a folder on PYTHONPATH."""
    info = folder / "radiolabel_under_test-0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: radiolabel-under-test\nVersion: 0.0\n")
    (info / "entry_points.txt").write_text(f"[vllm.logits_processors]\nradiolabel = {NAME}\n")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Gateway:
    """Mints tickets, each with a request id of its own."""

    def __init__(self, epoch: EpochKey) -> None:
        self.epoch, self.key, self._numbers = epoch, epoch.gateway_key(), count()

    def ticket(self, account: str, *, seconds: int = 600, request: str = "") -> tuple[str, Request]:
        request = request or f"req-{next(self._numbers)}"
        expires = int(time.time()) + seconds
        text = mint(self.key, Ticket(epoch=self.epoch.name, request=request, account=account, expires=expires))
        return text, Request(request, account=account)


class Server:
    """`python -m vllm.entrypoints.openai.api_server` with one epoch key."""

    def __init__(self, folder: Path, model: Path, epoch: EpochKey, *options: str, **settings: str) -> None:
        self.folder, self.epoch, self.gateway = folder, epoch, Gateway(epoch)
        self.sampler = Sampler(epoch)
        self.port, self.metrics_port = free_port(), free_port()
        self.log = folder / "server.log"
        keys, self.path = folder / "keys", folder / "path"
        keys.mkdir()
        write_key(epoch, keys / "epoch.key")
        install_entry_point(self.path)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RADIOLABEL_")} | {
            "PYTHONPATH": f"{self.path}:{ROOT}",
            "RADIOLABEL_KEYS": str(keys),
            "RADIOLABEL_MODE": "enforce",
            "RADIOLABEL_METRICS_PORT": str(self.metrics_port),
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # cores may be shared
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "TORCHDYNAMO_DISABLE": "1",  # it would compile for a minute
            **settings,
        }
        self.command = [str(interpreter()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        self.command += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(self.port)]
        self.command += ["--max-model-len", "512", "--enforce-eager", *options]

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=self.environment, cwd=self.folder
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=600, trust_env=False)
        end = time.monotonic() + 600
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.client.get("/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(1)
        self.__exit__()
        raise AssertionError("the server did not start: " + self.log.read_text()[-4000:])

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def post(self, ticket: object = None, *, path: str = "/v1/completions", **body: object) -> httpx.Response:
        """One request as the gateway sends it on."""
        body = {"model": MODEL, "temperature": 1.0, "max_tokens": 24, "return_token_ids": True} | body
        if path == "/v1/completions":
            body.setdefault("prompt", "The river that runs through the town")
        if ticket is not None:
            body["vllm_xargs"] = {"radiolabel": ticket} | dict(body.get("vllm_xargs") or {})  # type: ignore[call-overload]
        return self.client.post(path, json=body)

    def ask(self, ticket: object = None, **body: object) -> dict:
        """The answer of a request that is accepted."""
        response = self.post(ticket, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one of the plugin's counters, 0 if it has not counted yet."""
        wanted = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
        for line in self.metrics().splitlines():
            if line.startswith(f"{name}{wanted} "):
                return float(line.split()[-1])
        return 0.0

    def metrics(self) -> str:
        """Everything the plugin tells Prometheus."""
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text

    def processes(self) -> list[int]:
        """Ids of the server's processes."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            children = Path(f"/proc/{pid}/task/{pid}/children")
            todo += [int(c) for c in children.read_text().split()] if children.exists() else []
        return found


def new_epoch(name: str = "e1") -> EpochKey:
    """A new epoch in which a quarter of the windows is each account's own."""
    deployment = Deployment.parse(shares="fleet=0.5,account=0.25,leaf=0.25")
    return MasterKey.generate().epoch(name, deployment=deployment)


def rows_of(choice: dict, vocabulary: int, top_k: int):
    """The rows of logits that a completion's own log probabilities describe: (T, V), -inf below the k largest."""
    import numpy as np

    tops = choice["logprobs"]["top_logprobs"]
    rows = np.full((len(tops), vocabulary), -np.inf, dtype=np.float32)
    for row, top in zip(rows, tops, strict=True):
        ids = np.array([int(token.removeprefix("token_id:")) for token in top])
        logs = np.array(list(top.values()), dtype=np.float32)
        edge = np.sort(logs)[-top_k]
        row[ids[logs >= edge]] = logs[logs >= edge]
    return rows


def agreement(sampler: Sampler, request: Request, ids: list[int], rows) -> float:
    """The share of tokens that the reference sampler draws again."""
    response, agreed = sampler.start(request), 0
    for token, row in zip(ids, rows, strict=True):
        ((drawn, fate),) = sampler.propose([response], row[None])
        agreed += drawn == token
        response.take(token, fate)
    return agreed / len(ids)


def as_json(value: object) -> str:
    return json.dumps(value)
