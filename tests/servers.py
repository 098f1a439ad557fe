"""A small OpenAI-compatible server on loopback: it says what a test tells it to, and misbehaves in every usual way."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


class Fault(StrEnum):
    """What can go wrong with one call."""

    NONE = "none"
    BUSY_AND_SAYS_WHEN = "429 with Retry-After"
    BUSY = "429"
    BROKEN = "500"
    HANGS = "hang"
    RESETS = "connection reset"
    TRUNCATED = "truncated JSON"
    NO_CHOICES = "empty choices"
    NO_USAGE = "missing usage"
    REFUSES = "400"
    NO_KEY = "401"
    NO_MODEL = "404"


@dataclass
class Raw:
    """A whole reply of a test's own."""

    status: int
    """Of HTTP."""
    content: Any
    """JSON, or bytes that are sent as they are."""


HANG_UP = 0
"""As the status of a reply: none is sent."""
Elsewhere = Callable[[str, str, dict[str, str], bytes], Raw | None]


@dataclass
class Server:
    """What a test tells the server, and what it has seen."""

    reply: Callable[[Body], Body | Raw]
    """The message of a call's first choice, or a whole reply."""
    fault: Callable[[Body, int], Fault]
    """What goes wrong with a call, by its body and the number of calls with the same body before it."""
    url: str = ""
    stop: Callable[[], None] = lambda: None
    calls: list[Body] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    elsewhere: Elsewhere = field(default=lambda *_: None)
    """Answers what is about something else than completions: given method, path, headers and body."""


def echo(body: Body) -> Body:
    """Answer with the last message, so that a reply that went to another request shows."""
    return {"role": "assistant", "content": f"you said: {body['messages'][-1]['content']}"}


def no_fault(_body: Body, _before: int) -> Fault:
    return Fault.NONE


def completion(state: Server, body: Body, said: Body | None = None) -> Body:
    """The whole completion of a call, with what the test's server says or with `said`."""
    chat = "messages" in body
    message: Any = state.reply(body) if said is None else said
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    usage = message.pop("usage", usage)
    finish = message.pop("finish_reason", "stop")
    choice = {"index": 0, "finish_reason": finish, "logprobs": message.pop("logprobs", None)}
    choice |= {"message": message} if chat else {"text": message["content"]}
    return {
        "id": "c",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }


@contextmanager
def serve(
    reply: Callable[[Body], Body | Raw] = echo,
    fault: Callable[[Body, int], Fault] = no_fault,
    elsewhere: Elsewhere = lambda *_: None,
    context: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """A running server; `url` is its base URL. It speaks TLS if it is given a context."""
    state = Server(reply, fault, elsewhere=elsewhere)
    http = _Http(("127.0.0.1", 0), _handler(state))
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    state.url = f"http{'' if context is None else 's'}://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.stop = http.stop
    try:
        yield state
    finally:
        http.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def stop(self) -> None:
        """Stop, and hang up on whoever is still connected."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on purpose is no error here."""


def _handler(state: Server) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one short method for each fault
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if not self._goes_elsewhere("GET", b""):
                self._send_models()

        def _goes_elsewhere(self, method: str, content: bytes) -> bool:
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = state.elsewhere(method, self.path, headers, content)
            if said is None:
                return False
            if said.status == HANG_UP:
                self.close_connection = True
            elif isinstance(said.content, bytes):
                self._write(said.status, said.content)
            else:
                self._send(said.status, said.content)
            return True

        def _send_models(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "served", "object": "model"}]})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self._goes_elsewhere("POST", content):
                return
            body = json.loads(content)
            key = json.dumps(body, sort_keys=True)
            with state.lock:
                before = state.seen[key]
                state.seen[key] += 1
                state.calls.append(body)
                state.paths.append(self.path)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
            getattr(self, f"_{state.fault(body, before).name.lower()}")(body)

        def _none(self, body: Body) -> None:
            said = state.reply(body)
            if not isinstance(said, Raw):
                self._send(200, completion(state, body, said))
            elif isinstance(said.content, bytes):
                self._write(said.status, said.content)
            else:
                self._send(said.status, said.content)

        def _busy_and_says_when(self, body: Body) -> None:
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})

        def _busy(self, body: Body) -> None:
            self._send(429, {"error": {"message": "slow down"}})

        def _broken(self, body: Body) -> None:
            self._send(500, {"error": {"message": "out of order"}})

        def _hangs(self, body: Body) -> None:
            time.sleep(3)
            self.close_connection = True

        def _resets(self, body: Body) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def _truncated(self, body: Body) -> None:
            whole = json.dumps(completion(state, body)).encode()
            self._write(200, whole[: len(whole) // 2])

        def _no_choices(self, body: Body) -> None:
            self._send(200, completion(state, body) | {"choices": []})

        def _no_usage(self, body: Body) -> None:
            whole = completion(state, body)
            del whole["usage"]
            self._send(200, whole)

        def _refuses(self, body: Body) -> None:
            self._send(400, {"error": {"message": "the prompt is too long"}})

        def _no_key(self, body: Body) -> None:
            self._send(401, {"error": {"message": "bad key"}})

        def _no_model(self, body: Body) -> None:
            self._send(404, {"error": {"message": "no such model"}})

        def _send(self, status: int, content: Body, headers: dict[str, str] | None = None) -> None:
            self._write(status, json.dumps(content).encode(), headers)

        def _write(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:  # type: ignore[override]
            """Be quiet."""

    return Handler
