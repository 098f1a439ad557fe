"""The batch endpoint of a server on loopback: files, batches whose states go on, and everything that can go wrong."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers import HANG_UP, Body, Fault, Raw, Server, completion, echo, no_fault, serve

STATUS = {Fault.BROKEN: 500, Fault.BUSY: 429, Fault.REFUSES: 400, Fault.NO_KEY: 401, Fault.NO_MODEL: 404}
"""What a line of a batch says in place of a fault of a call."""


@dataclass
class Endpoint:
    """What a test tells the endpoint, and what it has seen. It outlives the server that it is behind."""

    looks: int = 1
    """Looks at a batch until it has ended."""
    longer: Callable[[int], int] = lambda _number: 0
    """Further looks at a batch, by its number."""
    end: Callable[[int], str] = lambda _number: "completed"
    """How a batch ends, by its number."""
    keep: Callable[[int, list[Body]], list[Body]] = lambda _number, requests: requests
    """Those of a batch's requests that it gets to."""
    write: Callable[[int, list[Body]], list[Any]] = lambda _number, rows: rows
    """What is written of a batch's output; bytes stay as they are."""
    errors: Callable[[int], Any] = lambda _number: None
    """The errors of a batch."""
    answer: Callable[[str, str], Raw | None] = lambda _method, _path: None
    """What is said in place of what would be, by method and path; None: that."""
    after: Callable[[str, str], Raw | None] = lambda _method, _path: None
    """The same, but what was asked for has been done."""
    dress: Callable[[Body], Any] = lambda batch: batch
    """How a batch is shown."""
    server: Server | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Body] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, method: str, path: str, headers: dict[str, str], content: bytes) -> Raw | None:
        parts = urlsplit(path)
        if not parts.path.startswith(("/v1/files", "/v1/batches")):
            return None
        with self.lock:
            self.seen.append((method, parts.path))
            self.headers.append(headers)
        instead = self.answer(method, parts.path)
        if instead is not None:
            return instead
        with self.lock:
            said = self._do(method, parts.path.removeprefix("/v1").strip("/").split("/"), parts.query, headers, content)
        return self.after(method, parts.path) or said

    def _do(self, method: str, names: list[str], query: str, headers: dict[str, str], content: bytes) -> Raw:
        match method, names:
            case "POST", ["files"]:
                return self._upload(headers["content-type"], content)
            case "POST", ["batches"]:
                return self._create(json.loads(content))
            case "GET", ["batches"]:
                return self._list(parse_qs(query))
            case "GET", ["batches", name] if name in self.batches:
                return Raw(200, self.dress(self._look(self.batches[name])))
            case "GET", ["files", name, "content"] if name in self.files:
                return Raw(200, self.files[name])
        return Raw(404, {"error": {"message": f"no {' '.join(names)}"}})

    def _upload(self, kind: str, content: bytes) -> Raw:
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        form = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        assert fields["purpose"].get_payload(decode=True).strip() == b"batch"
        name = f"file-{len(self.files)}"
        self.files[name] = fields["file"].get_payload(decode=True)
        return Raw(200, {"id": name, "object": "file", "purpose": "batch"})

    def _create(self, wanted: Body) -> Raw:
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "number": len(self.batches),
            "looks": 0,
            "status": "validating",
            "created_at": int(time.time()),
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": len(self.requests(wanted["input_file_id"])), "completed": 0, "failed": 0},
            **wanted,
        }
        return Raw(200, self.dress(self.batches[name]))

    def _list(self, query: dict[str, list[str]]) -> Raw:
        newest = list(self.batches.values())[::-1]
        if after := query.get("after"):
            newest = newest[[batch["id"] for batch in newest].index(after[0]) + 1 :]
        return Raw(200, {"object": "list", "data": newest[:2], "has_more": len(newest) > 2})

    def _look(self, batch: Body) -> Body:
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return batch
        batch["looks"] += 1
        batch["status"] = "in_progress"
        if batch["looks"] > self.looks + self.longer(batch["number"]):
            self._end(batch)
        return batch

    def _end(self, batch: Body) -> None:
        number = batch["number"]
        batch["status"], batch["errors"] = self.end(number), self.errors(number)
        if batch["status"] == "failed":
            return
        requests = self.requests(batch["input_file_id"])
        reached = self.keep(number, requests)
        rows = [self._row(request) for request in reached]
        good = [row for row in rows if row["response"]["status_code"] == 200]
        bad = [row for row in rows if row not in good]
        if batch["status"] == "expired":
            message = "This request could not be executed before the completion window expired."
            names = {request["custom_id"] for request in reached}
            error = {"code": "batch_expired", "message": message}
            late = [request["custom_id"] for request in requests if request["custom_id"] not in names]
            bad += [{"id": "r", "custom_id": name, "response": None, "error": error} for name in late]
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        for name, lines in (("output_file_id", self.write(number, good)), ("error_file_id", bad)):
            if lines:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = b"".join(_line(line) for line in lines)

    def _row(self, request: Body) -> Body:
        assert self.server is not None
        body = request["body"]
        key = json.dumps(body, sort_keys=True)
        with self.server.lock:
            before = self.server.seen[key]
            self.server.seen[key] += 1
        fault = self.server.fault(body, before)
        said = (
            self.server.reply(body) if fault not in STATUS else Raw(STATUS[fault], {"error": {"message": fault.value}})
        )
        if fault is Fault.NO_CHOICES:
            said = Raw(200, {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
        if not isinstance(said, Raw):
            said = Raw(200, completion(self.server, body, said))
        return {
            "id": "r",
            "custom_id": request["custom_id"],
            "response": {"status_code": said.status, "request_id": "q", "body": said.content},
            "error": None,
        }

    def requests(self, file: str) -> list[Body]:
        """The requests in a file."""
        return [json.loads(line) for line in self.files[file].splitlines()]

    def sizes(self) -> list[int]:
        """The number of requests of each batch."""
        return [len(self.requests(batch["input_file_id"])) for batch in self.batches.values()]


def _line(row: Any) -> bytes:
    return row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n"


@contextmanager
def serve_batches(
    endpoint: Endpoint | None = None,
    reply: Callable[[Body], Body | Raw] = echo,
    fault: Callable[[Body, int], Fault] = no_fault,
) -> Iterator[tuple[Server, Endpoint]]:
    """A running server that takes batches, too."""
    endpoint = endpoint or Endpoint()
    with serve(reply, fault, endpoint) as server:
        endpoint.server = server
        yield server, endpoint


@dataclass
class Hold:
    """Keeps a client waiting at one point for ever, so that it can be killed there."""

    method: str
    """Of the request that is held."""
    path: str
    """Its path's beginning."""
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self, method: str, path: str) -> Raw | None:
        if self.released.is_set() or method != self.method or not path.startswith(self.path):
            return None
        self.reached.set()
        self.released.wait()
        return Raw(HANG_UP, b"")
