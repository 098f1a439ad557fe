"""A server on loopback that speaks OpenAI's protocol and misbehaves as told: each fault in a share of the calls.

    python -m bench.faulty --share 0.05              # prints its port; GET /ledger says what it did

What it does to a call depends on the text of its prompt, and on how often it was asked that before, alone: so a run
can be repeated. It keeps a ledger of every attempt, to be compared with what the client has counted: some faults cost
nothing, some cost tokens that the reply tells, and some cost tokens of which the client never hears.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

READ, WRITTEN = 10, 5
"""Tokens of every call, as the server counts them."""
ABSURD = (
    "-5",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "soon",
    "",
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
)
"""What servers have been seen to say in Retry-After, and worse."""
ODD_USAGE: tuple[Any, ...] = (
    {"prompt_tokens": -(10**18), "completion_tokens": -1},
    {"prompt_tokens": 10**30, "completion_tokens": 10**30},
    {"prompt_tokens": "10", "completion_tokens": "5"},
    "many",
    [READ, WRITTEN],
    {"prompt_tokens": True, "completion_tokens": 1.5},
    None,
)
"""Counts that cannot be believed."""
ODD_CONTENT: tuple[Any, ...] = (7, True, {"a": {}}, [{"type": "image_url"}], [[[[[["deep"]]]]]], [3])
"""What is no text."""


class Cost(Enum):
    """What an attempt costs."""

    NOTHING = "nothing"
    """The server has written nothing."""
    TOLD = "told"
    """Its tokens, which the reply tells."""
    UNTOLD = "untold"
    """Its tokens, of which the client never hears, or hears what it cannot believe."""


class Kind(NamedTuple):
    """What can be done to a call."""

    answers: bool
    """Whether the client gets a text that it can use."""
    cost: Cost
    """What the attempt costs."""


KINDS = {
    "none": Kind(True, Cost.TOLD),
    "429 with Retry-After": Kind(False, Cost.NOTHING),
    "429": Kind(False, Cost.NOTHING),
    "429 with an absurd Retry-After": Kind(False, Cost.NOTHING),
    "500": Kind(False, Cost.NOTHING),
    "503": Kind(False, Cost.NOTHING),
    "hang past the timeout": Kind(False, Cost.UNTOLD),
    "reset in the body": Kind(False, Cost.UNTOLD),
    "wrong JSON": Kind(False, Cost.UNTOLD),
    "empty content": Kind(True, Cost.TOLD),
    "wrong id": Kind(True, Cost.TOLD),
    "200 with an error": Kind(False, Cost.NOTHING),
    "reset before the reply": Kind(False, Cost.UNTOLD),
    "chunks that break off": Kind(False, Cost.UNTOLD),
    "a page in a 200": Kind(False, Cost.UNTOLD),
    "length too long": Kind(False, Cost.UNTOLD),
    "two lengths": Kind(False, Cost.UNTOLD),
    "drips, then is whole": Kind(True, Cost.TOLD),
    "drips for ever": Kind(False, Cost.UNTOLD),
    "garbage for gzip": Kind(False, Cost.UNTOLD),
    "a bomb": Kind(False, Cost.UNTOLD),
    "no HTTP": Kind(False, Cost.UNTOLD),
    "redirects in a circle": Kind(False, Cost.NOTHING),
    "no choices": Kind(False, Cost.TOLD),
    "choices of another type": Kind(False, Cost.TOLD),
    "more choices than asked for": Kind(True, Cost.TOLD),
    "an unknown end": Kind(False, Cost.TOLD),
    "content in parts": Kind(True, Cost.TOLD),
    "content that is no text": Kind(False, Cost.TOLD),
    "no content": Kind(True, Cost.TOLD),
    "odd usage": Kind(True, Cost.UNTOLD),
    "100,000 brackets": Kind(False, Cost.UNTOLD),
    "half a character": Kind(True, Cost.TOLD),
    "headers twice": Kind(True, Cost.TOLD),
}
"""By name; the others are about the way there, the reply's form, and its content."""
USUAL = tuple(KINDS)[1:12]
"""What every server does some day."""
FURTHER = tuple(KINDS)[12:]
"""What some do."""


@dataclass
class Plan:
    """How the server is to behave."""

    shares: dict[str, float] = field(default_factory=dict)
    """Of the calls, by kind."""
    hang: float = 3.0
    """Seconds of silence, and of dripping."""
    seed: int = 0
    """Of what is done to whom."""

    def draw(self, text: str, before: int) -> str:
        """What is done to a call, by its prompt and the number of calls with the same before it."""
        digest = hashlib.sha256(f"{self.seed}/{text}/{before}".encode("utf-8", "replace")).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64
        for kind, share in self.shares.items():
            if point < share:
                return kind
            point -= share
        return "none"


def variant(text: str, before: int, among: Sequence[Any]) -> Any:
    """One of several, by prompt and number."""
    return among[
        int.from_bytes(hashlib.sha256(f"{text}|{before}".encode("utf-8", "replace")).digest()[:4], "big") % len(among)
    ]


def answer_to(text: str) -> str:
    """What the server says to a prompt, so that a reply that went to another request shows."""
    return f"you said: {text}"


class Server:
    """The server and its ledger."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.attempts: dict[str, list[str]] = defaultdict(list)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.errands: Counter[str] = Counter()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until one of both has had enough."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._serve(reader, writer):
                pass
        with suppress(ConnectionError, RuntimeError):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve a call; whether the connection is good for another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split("\r\n", 1)[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
        }
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if path.endswith("/chat/completions"):
            body = json.loads(content)
            text = body["messages"][-1]["content"]
            before = len(self.attempts[text])
            kind = self.plan.draw(text, before)
            self.attempts[text].append(kind)
            reply = _Reply(text, before, writer, self.plan.hang, str(body["model"]))
            return await FAULTS.get(kind, _Reply.whole)(reply)
        if path == "/circle":
            return await send(writer, 307, b"", [("Location", path)])
        if path == "/ledger":
            return await send(writer, 200, {"attempts": self.attempts, "errands": self.errands})
        if path.endswith("/models"):
            return await send(writer, 200, {"object": "list", "data": [{"id": "served", "object": "model"}]})
        self.errands[f"{method} {path.split('/')[2]}"] += 1
        return await send(
            writer, *self._errand(method, path.split("?")[0].removeprefix("/v1/").split("/"), headers, content)
        )

    def _errand(self, method: str, names: list[str], headers: dict[str, str], content: bytes) -> tuple[int, Any]:
        """What is said of files and batches; every call about them is out of order now and then."""
        number = sum(self.errands.values())
        if self.plan.shares and self.plan.draw(f"errand {number}", 0) == "503":
            return 503, {"error": {"message": "out of order"}}
        match method, names:
            case "POST", ["files"]:
                form = message_from_bytes(f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + content)
                parts: list[Any] = list(form.get_payload())
                name = f"file-{len(self.files)}"
                self.files[name] = next(
                    part.get_payload(decode=True)
                    for part in parts
                    if part.get_param("name", header="content-disposition") == "file"
                )
                return 200, {"id": name, "object": "file"}
            case "POST", ["batches"]:
                wanted = json.loads(content)
                name = f"batch-{len(self.batches)}"
                output = f"file-{len(self.files)}"
                self.files[output] = b"".join(self._lines(self.files[wanted["input_file_id"]]))
                self.batches[name] = {"id": name, "status": "completed", "output_file_id": output, **wanted}
                return 200, self.batches[name]
            case "GET", ["batches"]:
                return 200, {"data": list(self.batches.values())[::-1][:100], "has_more": False}
            case "GET", ["batches", name] if name in self.batches:
                return 200, self.batches[name]
            case "GET", ["files", name, "content"] if name in self.files:
                return 200, self.files[name]
        return 404, {"error": {"message": f"no {' '.join(names)}"}}

    def _lines(self, requests: bytes) -> Iterator[bytes]:
        """The output of a batch: faults that a line can have are met as in calls, others leave the line out."""
        for request in map(json.loads, requests.splitlines()):
            text = request["body"]["messages"][-1]["content"]
            before = len(self.attempts[text])
            kind = self.plan.draw(text, before)
            self.attempts[text].append(f"batch: {kind}")
            row: dict[str, Any] = {"id": "r", "custom_id": request["custom_id"], "error": None}
            whole = _Reply(text, before, None, 0.0, "served").body()
            match kind:
                case "429" | "429 with Retry-After" | "429 with an absurd Retry-After" | "500" | "503":
                    row["response"] = {"status_code": int(kind[:3]), "body": {"error": {"message": kind}}}
                case "200 with an error":
                    row["response"] = {"status_code": 200, "body": {"error": {"message": kind}}}
                case "hang past the timeout":
                    continue
                case "reset in the body":
                    yield json.dumps(row)[:30].encode() + b"\n"
                    continue
                case "wrong JSON":
                    row["response"] = {"status_code": 200, "body": "{"}
                case "wrong id":
                    row["response"] = {"status_code": 200, "body": whole}
                    yield json.dumps(row | {"custom_id": "of nobody"}).encode() + b"\n"
                    yield json.dumps(row).encode() + b"\n"
                case "empty content":
                    whole["choices"][0]["message"]["content"] = ""
                    row["response"] = {"status_code": 200, "body": whole}
                case _:
                    row["response"] = {"status_code": 200, "body": whole}
            yield json.dumps(row).encode() + b"\n"


async def send(
    writer: asyncio.StreamWriter,
    status: int,
    content: Any,
    headers: Sequence[tuple[str, str]] = (),
    *,
    length: int | None = None,
) -> bool:
    """A whole reply; `length`, if another than the true one is to be told."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    kind = [] if any(name == "Content-Type" for name, _ in headers) else [("Content-Type", "application/json")]
    lines = [*kind, *headers, ("Content-Length", str(len(body) if length is None else length))]
    head = f"HTTP/1.1 {status} So\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    writer.write(head.encode("latin-1") + body)
    await writer.drain()
    return length is None


@dataclass
class _Reply:
    """One call that is to be answered in one way or another. Each method says whether the connection is good still."""

    text: str
    before: int
    to: Any
    hang: float
    model: str

    def body(self, **choice: Any) -> dict[str, Any]:
        """The whole reply, with other parts of its choice."""
        message = {"role": "assistant", "content": answer_to(self.text)}
        return {
            "id": f"chatcmpl-{self.before}",
            "object": "chat.completion",
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
            "usage": {"prompt_tokens": READ, "completion_tokens": WRITTEN, "total_tokens": READ + WRITTEN},
        }

    def saying(self, content: Any) -> dict[str, Any]:
        """The reply with this content."""
        return self.body(message={"role": "assistant", "content": content})

    async def send(self, status: int, content: Any, *headers: tuple[str, str], length: int | None = None) -> bool:
        return await send(self.to, status, content, headers, length=length)

    async def whole(self) -> bool:
        return await self.send(200, self.body())

    async def busy(self) -> bool:
        return await self.send(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})

    async def busy_and_says_when(self) -> bool:
        return await self.send(429, {"error": {"message": "slow down"}}, ("Retry-After", "0.05"))

    async def busy_absurdly(self) -> bool:
        when = variant(self.text, self.before, ABSURD)
        return await self.send(429, {"error": {"message": "slow down"}}, ("Retry-After", when))

    async def broken(self) -> bool:
        return await self.send(500, {"error": {"message": "out of order"}})

    async def away(self) -> bool:
        return await self.send(503, b"<html><h1>Service unavailable</h1></html>", ("Content-Type", "text/html"))

    async def hangs(self) -> bool:
        await asyncio.sleep(self.hang)
        return False

    async def drips(self) -> bool:
        content = json.dumps(self.body()).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.to.write(head.encode())
        for start in range(0, len(content), 40):
            self.to.write(content[start : start + 40])
            await self.to.drain()
            await asyncio.sleep(0.02)
        return True

    async def drips_for_ever(self) -> bool:
        self.to.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        end = time.monotonic() + 20 * self.hang
        while time.monotonic() < end:
            self.to.write(b"1\r\n \r\n")
            await self.to.drain()
            await asyncio.sleep(0.2)
        return False

    def _reset(self) -> bool:
        """Hang up without the usual farewell."""
        self.to.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.to.transport.abort()
        return False

    async def resets(self) -> bool:
        return self._reset()

    async def resets_in_body(self) -> bool:
        await self.send(200, json.dumps(self.body()).encode()[:90], length=400)
        await asyncio.sleep(0.02)
        return self._reset()

    async def wrong_json(self) -> bool:
        return await self.send(200, json.dumps(self.body()).encode()[:-40])

    async def empty_content(self) -> bool:
        return await self.send(200, self.saying(""))

    async def wrong_id(self) -> bool:
        return await self.send(200, self.body(index=7) | {"id": "of another call", "model": "another model"})

    async def error_in_200(self) -> bool:
        return await self.send(200, {"error": {"message": "no capacity", "code": 502}})

    async def chunks_break_off(self) -> bool:
        part = json.dumps(self.body()).encode()[:60]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.to.write(head + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        await self.to.drain()
        return False

    async def page(self) -> bool:
        return await self.send(200, b"<!doctype html><html><body>Log in</body></html>", ("Content-Type", "text/html"))

    async def length_too_long(self) -> bool:
        return await self.send(200, self.body(), length=10_000)

    async def two_lengths(self) -> bool:
        await self.send(200, self.body(), ("Content-Length", "3"))
        return False

    async def garbage_for_gzip(self) -> bool:
        return await self.send(200, os.urandom(200), ("Content-Encoding", "gzip"))

    async def bomb(self) -> bool:
        return await self.send(200, bomb(), ("Content-Encoding", "gzip"))

    async def no_http(self) -> bool:
        self.to.write(b"220 mail.example.org ESMTP\r\n")
        await self.to.drain()
        return False

    async def circles(self) -> bool:
        return await self.send(307, b"", ("Location", "/circle"))

    async def no_choices(self) -> bool:
        return await self.send(200, self.body() | {"choices": []})

    async def odd_choices(self) -> bool:
        odd = variant(
            self.text, self.before, (None, 3, "text", {"0": {}}, [None], ["text"], [[]], [{}], [{"message": []}])
        )
        return await self.send(200, self.body() | {"choices": odd})

    async def more_choices(self) -> bool:
        whole = self.body()
        other = {"index": 1, "message": {"role": "assistant", "content": "another"}, "finish_reason": "length"}
        return await self.send(200, whole | {"choices": [*whole["choices"], other]})

    async def unknown_end(self) -> bool:
        end = variant(self.text, self.before, ("tool_calls", "weather", None, 7, ["stop"], "", {"type": "stop"}))
        return await self.send(200, self.body(finish_reason=end))

    async def parts(self) -> bool:
        return await self.send(200, self.saying([{"type": "text", "text": answer_to(self.text)}]))

    async def no_text(self) -> bool:
        return await self.send(200, self.saying(variant(self.text, self.before, ODD_CONTENT)))

    async def no_content(self) -> bool:
        return await self.send(200, self.saying(None))

    async def odd_usage(self) -> bool:
        return await self.send(200, self.body() | {"usage": variant(self.text, self.before, ODD_USAGE)})

    async def brackets(self) -> bool:
        return await self.send(200, b'{"choices":' + b"[" * 100_000)

    async def half_a_character(self) -> bool:
        return await self.send(200, json.dumps(self.saying(answer_to(self.text) + "\ud83d")).encode())

    async def headers_twice(self) -> bool:
        twice = [
            ("Content-Type", "application/json"),
            ("Content-Type", "text/html"),
            ("X-Request-Id", "a"),
            ("X-Request-Id", "b"),
        ]
        return await self.send(200, self.body(), *twice)


@cache
def bomb() -> bytes:
    """256 MiB of nothing in 256 KiB; made when it is asked for: it takes longer than to start the server."""
    return gzip.compress(b" " * 2**28)


EMPTY = ("empty content", "no content")
"""Kinds whose text is empty."""
FAULTS: dict[str, Callable[[_Reply], Any]] = {
    "429 with Retry-After": _Reply.busy_and_says_when,
    "429": _Reply.busy,
    "429 with an absurd Retry-After": _Reply.busy_absurdly,
    "500": _Reply.broken,
    "503": _Reply.away,
    "hang past the timeout": _Reply.hangs,
    "reset in the body": _Reply.resets_in_body,
    "wrong JSON": _Reply.wrong_json,
    "empty content": _Reply.empty_content,
    "wrong id": _Reply.wrong_id,
    "200 with an error": _Reply.error_in_200,
    "reset before the reply": _Reply.resets,
    "chunks that break off": _Reply.chunks_break_off,
    "a page in a 200": _Reply.page,
    "length too long": _Reply.length_too_long,
    "two lengths": _Reply.two_lengths,
    "drips, then is whole": _Reply.drips,
    "drips for ever": _Reply.drips_for_ever,
    "garbage for gzip": _Reply.garbage_for_gzip,
    "a bomb": _Reply.bomb,
    "no HTTP": _Reply.no_http,
    "redirects in a circle": _Reply.circles,
    "no choices": _Reply.no_choices,
    "choices of another type": _Reply.odd_choices,
    "more choices than asked for": _Reply.more_choices,
    "an unknown end": _Reply.unknown_end,
    "content in parts": _Reply.parts,
    "content that is no text": _Reply.no_text,
    "no content": _Reply.no_content,
    "odd usage": _Reply.odd_usage,
    "100,000 brackets": _Reply.brackets,
    "half a character": _Reply.half_a_character,
    "headers twice": _Reply.headers_twice,
}


async def listen(server: Server, port: int) -> None:
    """Serve until killed, or until whoever started this is gone; the port is the first line on stdout."""
    listening = await asyncio.start_server(server.handle, "127.0.0.1", port, backlog=512, limit=2**20)
    print(listening.sockets[0].getsockname()[1], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    port: int
    """Where it listens."""
    process: subprocess.Popen[str]
    """The process."""

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def ledger(self) -> dict[str, list[str]]:
        """What was done to each prompt, attempt by attempt."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/ledger") as reply:
            attempts: dict[str, list[str]] = json.load(reply)["attempts"]
        return attempts

    def pause(self) -> None:
        """Let it take connections and answer none."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """A port at which nobody listens, and which nobody is given by chance: a server that asks for this very one may."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        yield held.getsockname()[1]


@contextmanager
def faulty(plan: Plan | None = None, port: int = 0) -> Iterator[Running]:
    """A running server; at a port of one's own choice, if one has been free before."""
    given = plan or Plan()
    root = Path(__file__).resolve().parents[1]
    with closed_port(port) as held:
        command = [sys.executable, "-m", "bench.faulty", "--plan", json.dumps(vars(given)), "--port", str(held)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        try:
            assert process.stdout is not None
            yield Running(int(process.stdout.readline()), process)
        finally:
            process.kill()
            process.communicate()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.05, help="of each usual fault")
    parser.add_argument("--plan", type=json.loads, help="a whole plan, in JSON")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    plan = Plan(**args.plan) if args.plan else Plan(dict.fromkeys(USUAL, args.share))
    with suppress(KeyboardInterrupt):
        asyncio.run(listen(Server(plan), args.port))


if __name__ == "__main__":
    main()
