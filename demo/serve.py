"""A model behind the OpenAI protocol: `python -m demo.serve FOLDER --ready FILE`, for a suspect that is asked.

One worker answers what waits, in batches. The address is written to the file when the model is loaded.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import torch

from watermark.decoding import Decoding
from watermark.engines.models import Answer, LanguageModel, answer, load
from watermark.sampling import Request

BATCH: Final = 8
GATHER: Final = 0.05  # seconds that the first request of a batch waits for others
MAX_BODY: Final = 1 << 20


@dataclass
class Asked:
    """A request that waits for its answer."""

    prompt: str
    decoding: Decoding
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class Worker(threading.Thread):
    """Answers what is in the queue, requests with the same settings together."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(daemon=True)
        self.model, self.waiting = model, queue.SimpleQueue[Asked]()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            batch = [self.waiting.get()]
            time.sleep(GATHER)
            while len(batch) < BATCH and not self.waiting.empty():
                batch.append(self.waiting.get())
            for decoding in {asked.decoding for asked in batch}:
                same = [asked for asked in batch if asked.decoding == decoding]
                requests = [Request(f"r{index}") for index in range(len(same))]
                for found in answer(self.model, [a.prompt for a in same], decoding, requests=requests, sampler=None):
                    same[found.index].answer = found
                    same[found.index].done.set()


class Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions, one user message."""

    worker: Worker
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(min(int(self.headers["content-length"]), MAX_BODY)))
        decoding = Decoding(
            temperature=float(body.get("temperature", 0.7)),
            top_p=float(body.get("top_p", 1.0)),
            top_k=0,
            max_tokens=int(body.get("max_tokens", 64)),
        )
        asked = Asked(body["messages"][-1]["content"], decoding)
        self.worker.waiting.put(asked)
        asked.done.wait()
        assert asked.answer is not None
        n = len(asked.answer.token_ids)
        reason = "length" if n >= decoding.max_tokens else "stop"
        message = {"role": "assistant", "content": asked.answer.text}
        record: dict[str, Any] = {
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {"prompt_tokens": 0, "completion_tokens": n, "total_tokens": n},
        }
        data = json.dumps(record).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Load and serve, on this machine only."""
    parser = argparse.ArgumentParser(prog="python -m demo.serve", description=__doc__)
    parser.add_argument("model", help="a folder, a .gguf file, a hub name, or smollm2")
    parser.add_argument("--ready", type=Path, required=True, help="file for the address")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    worker = Worker(load(options.model))
    worker.start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"worker": worker}))
    server.daemon_threads = True
    options.ready.write_text(f"http://127.0.0.1:{server.server_port}/v1\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
