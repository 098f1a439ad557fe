"""Headless Chromium, driven through two pipes by its own protocol, which needs no port, no network and no package.

https://chromedevtools.github.io/devtools-protocol/. One browser serves many pages; of each it tells what ran, what was
asked for and which dialogs opened.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without a window, and without calls of its own."""
DRIVEN = (*FLAGS, "--disable-dev-shm-usage", "--remote-debugging-pipe")
"""The same, and told what to do through pipes."""
PATIENCE = 300
"""Seconds to wait for an answer, on the busiest of machines."""


def every_event(within: str = "body") -> str:
    """A script that hovers over and focuses every element of a part of the page."""
    return """
window.dispatchEvent(new Event("resize"));
for (const one of document.querySelectorAll("PART *")) {
  for (const name of ["mouseover", "mouseenter", "pointerover", "focus", "toggle", "animationstart", "error"]) {
    one.dispatchEvent(new Event(name, {bubbles: false}));
  }
  if (one.tabIndex >= 0 && one.focus) one.focus();
}
""".replace("PART", within)


@dataclass
class Seen:
    """What a page did."""

    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for, itself left out."""
    dialogs: list[str] = field(default_factory=list)
    """Words of the dialogs that it opened."""
    refused: list[str] = field(default_factory=list)
    """What its content security policy refused to load or to run."""


class Browser:
    """A browser that is running."""

    def __init__(self, to: int, back: int) -> None:
        """Talk through two pipes."""
        self._to, self._back, self._rest, self._number = to, back, b"", 0
        self._session = ""
        self.seen = Seen()
        self._page = ""

    def open(self, page: Path | str, fragment: str = "") -> Seen:
        """Show a page in a new tab, and wait until it is there.

        Args:
            page: its file, or its address.
            fragment: of its address.

        Returns:
            What it does, from now on.
        """
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=False)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=False)
        self._session, self.seen = attached["sessionId"], Seen()
        self._page = page if isinstance(page, str) else page.as_uri()
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable", {})
        self._call("Performance.enable", {"timeDomain": "threadTicks"})
        self._call("Page.navigate", {"url": self._page + fragment})
        end = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete":
            if time.monotonic() > end:
                raise TimeoutError(f"{page} did not load")
            time.sleep(0.05)
        return self.seen

    def run(self, script: str) -> Any:
        """What a script gives that the driver, and not the page, runs: plain values alone."""
        wanted = {"expression": script, "returnByValue": True, "awaitPromise": True}
        result = self._call("Runtime.evaluate", wanted)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", "the script failed"))
        return result["result"].get("value")

    def heap(self) -> float:
        """Bytes that the page's script holds, after what it does not need any more was collected."""
        self._call("HeapProfiler.collectGarbage", {})
        used = self._call("Runtime.getHeapUsage", {})
        return float(sum(used.get(name, 0) for name in ("usedSize", "backingStorageSize")))

    def cpu(self) -> float:
        """CPU seconds that the page's own thread has worked since it was opened."""
        metrics = self._call("Performance.getMetrics", {})["metrics"]
        return float(next(row["value"] for row in metrics if row["name"] == "TaskDuration"))

    def press(self, key: str) -> None:
        """A key of the keyboard, for example `Enter`."""
        codes = {"Enter": (13, "\r"), "Tab": (9, "")}
        code, text = codes[key]
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self._call("Input.dispatchKeyEvent", event | ({"text": text} if text and kind == "keyDown" else {}))

    def _call(self, method: str, params: dict[str, Any], *, session: bool = True) -> dict[str, Any]:
        number = self._send(method, params, session=session)
        while True:
            reply = self._read()
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error'].get('message')}")
                result: dict[str, Any] = reply["result"]
                return result
            self._note(reply)

    def _send(self, method: str, params: dict[str, Any], *, session: bool = True) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                url = params["request"]["url"]
                if url.split("#")[0] != self._page and not url.startswith("about:"):
                    self.seen.requests.append(url)
            case "Page.javascriptDialogOpening":
                self.seen.dialogs.append(params["message"])
                self._send("Page.handleJavaScriptDialog", {"accept": True})  # else the page would wait for ever
            case "Log.entryAdded" if params["entry"].get("source") == "security":
                self.seen.refused.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.seen.dialogs.append(str(params.get("args")))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select([self._back], [], [], PATIENCE)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._back, 2**20)
            if not piece:
                raise EOFError("the browser is gone")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


def find() -> str | None:
    """The browser's program; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser as long as the `with` lasts. Raises FileNotFoundError if there is none."""
    program = find()
    if program is None:
        raise FileNotFoundError("no chromium found; install it (apt-get install chromium)")
    to_read, to = os.pipe()
    back, back_write = os.pipe()

    def as_three_and_four() -> None:
        # The protocol's pipes have these numbers.
        high = [os.dup(to_read), os.dup(back_write)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *DRIVEN, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command,
            pass_fds=(3, 4),
            preexec_fn=as_three_and_four,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(back_write)
        try:
            yield Browser(to, back)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)
