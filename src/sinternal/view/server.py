"""The server behind `sinternal view`: on this machine only, for whoever has its address, and read-only.

What keeps others out, in the order in which a request meets it:
- it listens on the loopback interface;
- the name that a browser asks for must be this machine's own, so that no website whose name leads here is served;
- the page itself holds nothing of a run; what it shows it asks for with the token of its address, in a header that no
  other site's page can send;
- a report opens by an address of its own, made with the token, in a sandbox: its script, whoever wrote it, sees neither
  the token nor other runs;
- nothing in an address is a path: runs, and the few files of theirs that are served, are known by name before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from sinternal.errors import SInternalError
from sinternal.report.comparison_tables import pair_table
from sinternal.report.page import script_hash
from sinternal.study.execute import WORKER_LOG
from sinternal.view.content import artifacts_of, curves, newest_figures
from sinternal.view.runs import Line, Runs, Standing, State, ViewedRun, is_plain_file, newest_line, read_tail
from sinternal.view.texts import newest_texts
from sinternal.visible import visible, visible_line

HOST = "127.0.0.1"
PORT = 8765
"""Where it listens if nothing else is said and nobody else is there."""
OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What this machine is called in addresses that lead to it, or through a tunnel to it."""
TOKEN = "X-Sinternal-Token"
LOG = 2**14
"""Bytes of a run's log that are shown."""
REDACTED = "redacted/"
"""The folder in a run's that its copy without texts lies in."""
TEXTS_BESIDE = "-texts"
"""End of the name of the folder that a large report's texts lie in, beside its page."""
TEXTS, MOST_TEXTS = 24, 400
KEPT = 8
"""Comparisons that are remembered."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
}
"""Files of a report that are served, by their ending."""
_RUN = re.compile(r"/api/runs/(?P<run>[0-9a-f]{16})(?P<what>|/texts)", re.ASCII)
_PAIR = re.compile(r"/api/compare/(?P<a>[0-9a-f]{16})/(?P<b>[0-9a-f]{16})", re.ASCII)
_REPORT = re.compile(
    r"/report/(?P<run>[0-9a-f]{16})/(?P<sign>[0-9a-f]{32})/(?P<file>(?:[A-Za-z0-9_-]+/){0,2}[A-Za-z0-9_-]+\.[a-z]+)",
    re.ASCII,
)
SANDBOX = (
    "sandbox allow-scripts allow-downloads allow-popups allow-modals; default-src 'none'; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "form-action 'none'; base-uri 'none'"
)
"""Of a report, beside its own policy. In the sandbox it is of no origin: whatever runs there reads nothing of ours."""


class Answer(NamedTuple):
    """A response."""

    body: bytes
    """What is sent."""
    kind: str = "application/json"
    """Its media type."""
    status: HTTPStatus = HTTPStatus.OK
    """How it went."""
    policy: str = "default-src 'none'; frame-ancestors 'none'"
    """Its content security policy."""


class View:
    """What is served, without the server: paths in, answers out."""

    def __init__(self, runs: Runs, token: str, *, texts: bool = True) -> None:
        """Serve runs to whoever has the token; without `texts`, nothing that a model wrote or was asked."""
        self.runs, self.token, self.texts = runs, token, texts
        self._compared: OrderedDict[tuple[object, ...], dict[str, Any]] = OrderedDict()
        self._reading, self._comparing = threading.Lock(), threading.Lock()

    def answer(self, target: str, token: str | None) -> Answer:
        """Answer a request.

        Args:
            target: path and query.
            token: that came with it.
        """
        address = urlsplit(target)
        if address.path == "/":
            return page()
        if match := _REPORT.fullmatch(address.path):
            return self._report(**match.groupdict())
        if not address.path.startswith("/api/"):
            return _problem(HTTPStatus.NOT_FOUND, "there is no such page")
        if not hmac.compare_digest((token or "").encode(), self.token.encode()):
            return _problem(HTTPStatus.FORBIDDEN, "open the address that sinternal view has printed")
        try:
            if match := _PAIR.fullmatch(address.path):
                with self._comparing:  # takes long, and keeps nobody else from an answer
                    return self._compared_pair(match["a"], match["b"])
            with self._reading:  # journals are read on, and each run is looked at by one request at a time
                return self._api(address.path, parse_qs(address.query))
        except (SInternalError, OSError) as error:
            return _problem(HTTPStatus.CONFLICT, visible_line(str(error)))

    def _api(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        if path == "/api/runs":
            rows = list(self._rows())
            rows.sort(key=lambda row: (row["state"] != State.RUNNING, -(row["since"] or 0)))
            return _json({"folder": str(self.runs.root), "now": time.time(), "texts": self.texts, "runs": rows})
        if match := _RUN.fullmatch(path):
            run = self.runs.get(match["run"])
            if run is None:
                return _gone()
            if match["what"]:
                asked = query.get("most", ["x"])[0]
                return _json(self._texts(run, int(asked) if asked.isdecimal() and len(asked) < 6 else TEXTS))
            return _json(self._whole(run))
        return _problem(HTTPStatus.NOT_FOUND, "there is nothing there")

    def _compared_pair(self, first: str, second: str) -> Answer:
        a, b = self.runs.get(first), self.runs.get(second)
        return _gone() if a is None or b is None else _json(self._compare(a, b))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for run in self.runs.all():
            with suppress(SInternalError, OSError):  # it is being removed just now: the others are there
                yield self._row(run, run.standing())

    def _row(self, run: ViewedRun, standing: Standing) -> dict[str, Any]:
        journal = run.journal
        report = run.report
        return {
            "id": run.id,
            "name": visible_line(run.name),
            "kind": "diagnosis" if run.is_diagnosis else "study",
            "state": standing.state,
            "since": standing.since,
            "why": self._why(standing),
            "started": journal.started,
            "made": sum(task.finished is not None for task in journal.tasks),
            "cached": sum(task.cached for task in journal.tasks),
            "tasks": len(journal.tasks),
            "answer": run.answer() if report else "",
            "figures": [visible_line(line) for line in run.figures()] if report else [],
            "report": self.report_address(run, report) if report else None,
            "redacted": self.report_address(run, f"{REDACTED}{report}")
            if report and is_plain_file(run.folder / "redacted" / report)
            else None,
        }

    def _why(self, standing: Standing) -> str:
        """What led to how a run stands. An error's words may quote what a model wrote, or was asked."""
        if standing.state is State.FAILED and not self.texts:
            return "an error ended it; its words are left out, as this view was opened with --redact"
        return standing.why

    def _whole(self, run: ViewedRun) -> dict[str, Any]:
        standing, now = run.standing(), time.time()
        going = standing.state is State.RUNNING
        drawn = curves(artifacts_of(run))
        held = {
            task.key: run.held_since(task) if going and task.finished is None else None for task in run.journal.tasks
        }
        newest = newest_figures(drawn)
        tasks = [
            {
                "label": visible_line(task.label),
                "stage": visible_line(task.stage),
                "done": task.done,
                "total": task.total,
                "state": "cached"
                if task.cached
                else "done"
                if task.finished is not None
                else "waiting"
                if task.began is None and held[task.key] is None
                else "running"
                if going
                else "interrupted",
                "began": held[task.key] or task.began,
                "seconds": task.seconds,
                "words": (task.words if self.texts else "") or newest.get((task.stage, task.label), ""),
                "rate": task.rate(now) if going else None,
                "left": task.time_left(now) if going else None,
            }
            for task in run.journal.tasks
        ]
        return {
            **self._row(run, standing),
            "now": now,
            "list": tasks,
            "spent": run.journal.spent,
            "curves": [asdict(curve) for curve in drawn],
            "newest": visible_line(line.words) if self.texts and (line := newest_line(run.folder / "log.txt")) else "",
            "log": read_tail(run.folder / "log.txt", LOG) if self.texts else "",
            "last_words": self._last_words(run, tasks) if going else None,
        }

    def _last_words(self, run: ViewedRun, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What libraries have printed last, where a stage that is at work counts no rows and says nothing itself."""
        silent = [
            task["began"] for task in tasks if task["state"] == "running" and not (task["total"] or task["words"])
        ]
        line: Line | None = newest_line(run.store / WORKER_LOG) if silent and self.texts else None
        if line is None or line.at < min(filter(None, silent), default=0.0):
            return None
        return {"at": line.at, "words": visible_line(line.words)}

    def _texts(self, run: ViewedRun, most: int) -> dict[str, Any]:
        if not self.texts:
            return {"texts": [], "left_out": True}
        run.standing()
        rows = newest_texts(artifacts_of(run), min(most, MOST_TEXTS))
        return {"texts": [asdict(row) for row in rows], "left_out": False}

    def _compare(self, a: ViewedRun, b: ViewedRun) -> dict[str, Any]:
        from sinternal.tools.compare import compare
        from sinternal.tools.differences import in_words, to_json

        stamps = [
            (run.id, status.st_mtime_ns, status.st_size)
            for run in (a, b)
            for name in ("measured.parquet", "results.json")
            if (run.folder / name).is_file()
            for status in [(run.folder / name).stat()]
        ]
        key = tuple(stamps)
        if key not in self._compared or not stamps:
            pairs = compare(a.folder, b.folder)
            tables = [
                {
                    "title": visible_line(
                        f"{pair.a.arm} ({pair.a.variant})" if pair.a.variant != "default" else pair.a.arm
                    ),
                    "columns": list(table.columns),
                    "rows": [list(row) for row in table.rows],
                    "caveats": [visible_line(caveat) for caveat in pair.caveats],
                }
                for pair in pairs
                for table in [pair_table(pair.comparisons)]
            ]
            differing = pairs[0].differences
            self._compared[key] = {
                "a": visible_line(a.name),
                "b": visible_line(b.name),
                "notes": [visible_line(words) for words in in_words(differing, a.folder, b.folder)],
                "differences": to_json(differing),
                "pairs": tables,
            }
            while len(self._compared) > KEPT:
                self._compared.popitem(last=False)
        return self._compared[key]

    def report_address(self, run: ViewedRun, file: str) -> str:
        """Where a file of a run's report is served."""
        return f"/report/{run.id}/{self._sign(run.id)}/{file}"

    def _sign(self, run: str) -> str:
        return hmac.new(self.token.encode(), run.encode(), hashlib.sha256).hexdigest()[:32]

    def _report(self, run: str, sign: str, file: str) -> Answer:
        known = self.runs.get(run) if hmac.compare_digest(sign, self._sign(run)) else None
        name = known.report if known else None
        if known is None or name is None:
            return _gone()
        folder, _, last = file.removeprefix(REDACTED).rpartition("/")
        ours = folder == f"{Path(name).stem}{TEXTS_BESIDE}" if folder else last == name
        path = known.folder / file
        kind = TYPES.get(path.suffix)
        if not (ours and kind and is_plain_file(path) and not any(map(Path.is_symlink, _between(path, known.folder)))):
            return _gone()
        return Answer(path.read_bytes(), kind, policy=SANDBOX)


def _visible(content: object) -> object:
    """Plain values whose texts, whoever wrote them, spell out what would steer a reader's eyes."""
    if isinstance(content, str):
        return visible(content)
    if isinstance(content, Mapping):
        return {visible(str(name)): _visible(value) for name, value in content.items()}
    return [_visible(value) for value in content] if isinstance(content, list | tuple) else content


def _json(content: object) -> Answer:
    text = json.dumps(_visible(content), ensure_ascii=False, allow_nan=False)
    return Answer(text.encode("utf-8", "replace"))


def _problem(status: HTTPStatus, words: str) -> Answer:
    return _json({"error": words})._replace(status=status)


def _between(path: Path, folder: Path) -> list[Path]:
    """The folders that a file lies in, within another."""
    return [parent for parent in path.parents if folder in parent.parents]


def _gone() -> Answer:
    return _problem(HTTPStatus.NOT_FOUND, "this run is not there any more")


@cache
def page() -> Answer:
    """The page: the same for all, with no word of any run."""
    folder = files("sinternal.view")
    parts = {
        name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "script.js")
    }
    script, style = parts["script.js"], parts["style.css"]
    policy = (
        f"default-src 'none'; script-src 'sha256-{script_hash(script)}'; style-src 'sha256-{script_hash(style)}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    text = parts["page.html"].replace("/* style */", style).replace("/* script */", script)
    return Answer(text.encode(), TYPES[".html"], policy=policy)


class _Handler(BaseHTTPRequestHandler):
    """HTTP, of which GET is all that is known."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sinternal", ""
    timeout = 60
    view: View

    def do_GET(self) -> None:
        """Answer."""
        name = (self.headers.get("Host") or "").strip().lower()
        host = name if name.endswith("]") else name.rpartition(":")[0] or name
        if host not in OWN_NAMES:
            answer = _problem(HTTPStatus.MISDIRECTED_REQUEST, "this is not the machine that you asked for")
        else:
            try:
                answer = self.view.answer(self.path, self.headers.get(TOKEN))
            except Exception as error:  # of a file that nobody thought of: the page says so, and goes on
                answer = _problem(HTTPStatus.INTERNAL_SERVER_ERROR, visible_line(f"{type(error).__name__}: {error}"))
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Content-Security-Policy", answer.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin" if answer.policy != SANDBOX else "cross-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by the library
        """Say nothing: every two seconds would be a line."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


class Served(NamedTuple):
    """A server that listens."""

    address: str
    """What to open, with the token."""
    run: Callable[[], None]
    """Serves until it is interrupted."""
    close: Callable[[], None]
    """Ends it, from another thread."""


def listen(folder: Path, port: int | None = None, *, store: Path | None = None, texts: bool = True) -> Served:
    """Listen on this machine only.

    Args:
        folder: of runs, or a run.
        port: where; by default `PORT`, or any other if that is taken.
        store: the folder of artifacts of runs that have none inside.
        texts: whether to show what models wrote, and were asked.

    Raises:
        SInternalError: there is no such folder, or nothing can listen there.
    """
    if not folder.is_dir():
        raise SInternalError(f"{folder}: no folder there; run a recipe first, or name the folder that holds your runs")
    token = secrets.token_urlsafe(24)
    view = View(Runs(folder, store), token, texts=texts)
    handler = type("Handler", (_Handler,), {"view": view})
    server = None
    for number in (PORT, 0) if port is None else (port,):
        try:
            server = _Server((HOST, number), handler)
            break
        except OSError as error:
            problem = error
    if server is None:
        raise SInternalError(
            f"cannot listen on port {port or PORT} ({problem.strerror}); choose another with --port, or 0 for any"
        )
    address = f"http://{HOST}:{server.server_address[1]}/#token={token}"

    def run() -> None:
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()

    return Served(address, run, server.shutdown)
