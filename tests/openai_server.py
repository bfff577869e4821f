"""A real local server that speaks /v1/chat/completions and goes wrong as it is told to."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OpenAIServer:
    """Runs while it is entered.

    Args:
        answer: prompt -> text.
        faults: prompt -> what goes wrong each time it is asked, in turn; "" is a good answer, and so is what follows.
        delay: seconds before each answer.
        logprobs: whether log probabilities are sent when they are asked for.
        usage: whether tokens are counted.
        created: the time that answers state.
    """

    def __init__(
        self,
        answer: Callable[[str], str] = lambda prompt: f"You said {prompt}",
        *,
        faults: dict[str, list[str]] | None = None,
        delay: float = 0.0,
        logprobs: bool = True,
        usage: bool = True,
        created: int = 1760000000,
    ) -> None:
        self.answer, self.delay, self.logprobs, self.usage = answer, delay, logprobs, usage
        self.created = created
        self.faults = {prompt: list(names) for prompt, names in (faults or {}).items()}
        self.asked: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.bodies: list[dict] = []
        self.authorizations: list[str | None] = []
        self.in_flight = self.most_in_flight = 0
        self.elsewhere = "http://127.0.0.1:9/v1/chat/completions"
        self.closing = threading.Event()
        self.lock = threading.Lock()

    def __enter__(self) -> OpenAIServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: OpenAIServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client is gone

    def do_POST(self) -> None:
        server = self.owner
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        with server.lock:
            server.asked[prompt] += 1
            server.times.setdefault(prompt, []).append(time.monotonic())
            server.bodies.append(body)
            server.authorizations.append(self.headers.get("authorization"))
            waiting = server.faults.get(prompt)
            fault = waiting.pop(0) if waiting else ""
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            server.closing.wait(server.delay)
            self.respond(prompt, body, fault)
        finally:
            with server.lock:
                server.in_flight -= 1

    def respond(self, prompt: str, body: dict, fault: str) -> None:
        completion = self.completion(prompt, body)
        choice = completion["choices"][0]
        good = json.dumps(completion).encode()
        name, _, value = fault.partition(" ")
        match name:
            case "":
                self.send(200, good)
            case "status":
                message = f"went wrong for {self.headers.get('authorization')}"
                self.send(int(value), json.dumps({"error": {"message": message, "code": None}}).encode())
            case "retry-after":
                self.send(429, b"{}", {"retry-after": value})
            case "retry-after-date":
                self.send(429, b"{}", {"retry-after": formatdate(time.time() + float(value), usegmt=True)})
            case "hang":
                self.owner.closing.wait(60)
            case "drip":  # a byte now and then: no single read is slow
                self.head(200, 10_000)
                while not self.owner.closing.wait(0.02):
                    self.wfile.write(b" ")
            case "reset":
                self.head(200, len(good))
                self.wfile.write(good[: len(good) // 2])
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "closed":
                self.head(200, len(good))
                self.wfile.write(good[: len(good) // 2])
                self.close_connection = True
            case "truncated":
                self.send(200, good[: len(good) // 2])
            case "html":
                self.send(200, b"<html>busy</html>", {"content-type": "text/html"})
            case "huge":
                self.send(200, b" " * (16 << 20) + good)
            case "encoded":  # twice: each layer multiplies by a thousand
                packed = gzip.compress(gzip.compress(good))
                self.send(200, packed, {"content-encoding": "gzip, gzip"})
            case "key-in-no-json":
                self.send(200, b'{"choices": ' + self.headers["authorization"].encode().removeprefix(b"Bearer "))
            case "bad-header":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"\0" * 5000 + b"\r\n\r\n")
                self.close_connection = True
            case "no-choices":
                self.send(200, json.dumps(completion | {"choices": []}).encode())
            case "filter":
                choice["message"]["content"] = None
                choice["finish_reason"] = "content_filter"
                self.send(200, json.dumps(completion).encode())
            case "filter-400":
                self.send(400, b'{"error": {"code": "content_filter", "message": "no"}}')
            case "null":
                choice["message"]["content"] = None
                self.send(200, json.dumps(completion).encode())
            case "logprob":
                choice["logprobs"]["content"][0]["logprob"] = float(value)
                self.send(200, json.dumps(completion).encode())
            case "sum":
                for top in choice["logprobs"]["content"][0]["top_logprobs"]:
                    top["logprob"] = -0.1
                self.send(200, json.dumps(completion).encode())
            case "types":  # what is of no use may have any type
                odd = {"usage": "many", "id": 7, "created": "now", "system_fingerprint": [], "model": None}
                self.send(200, json.dumps(completion | odd).encode())
            case "surrogate":
                self.send(200, good.replace(b"You said", b"\\ud800"))
            case "redirect":
                self.send(307, b"", {"location": self.owner.elsewhere})
            case "echo-key":
                choice["message"]["content"] = self.headers["authorization"]
                self.send(200, json.dumps(completion).encode())
            case _:
                raise AssertionError(fault)

    def completion(self, prompt: str, body: dict) -> dict:
        text = self.owner.answer(prompt)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("logprobs") and self.owner.logprobs:
            top = [{"token": t, "bytes": list(t.encode()), "logprob": -1.0 - i} for i, t in enumerate("abc")]
            content = [
                {"token": word, "bytes": None, "logprob": -0.5, "top_logprobs": top[: body.get("top_logprobs", 0)]}
                for word in text.split()
            ]
            choice["logprobs"] = {"content": content, "refusal": None}
        usage = {"prompt_tokens": 3, "completion_tokens": len(text.split()), "total_tokens": 9}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": self.owner.created,
            "model": f"{body['model']}-0001",
            "system_fingerprint": "fp_1",
            "choices": [choice],
        } | ({"usage": usage} if self.owner.usage else {})

    def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"content-type": "application/json", "content-length": str(length)} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.head(status, len(body), headers)
        self.wfile.write(body)
