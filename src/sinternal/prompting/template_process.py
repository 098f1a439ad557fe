"""Chat templates are code by others, so they are rendered in a process of their own, which is small and can be lost.

Jinja's sandbox keeps a template from files, but not from computing for ever, or from filling the memory in a single
expression, which nothing inside of Python could end. The system ends this process instead: it may take so much CPU for
a conversation, and so much memory. It sees nothing of the environment, and ends with the process that asks it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

SECONDS = 30.0
"""Of CPU for a conversation, which takes milliseconds."""
MEMORY = 1 << 30
"""Bytes that rendering may take beside what the process has taken to start."""
TIMES, MORE = 10, 1_000_000
"""A text may be so many times as long as what was said, and so many characters longer."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
"""Variables that the process sees."""


class RefusedError(Exception):
    """What a template has raised."""


class TooMuchError(Exception):
    """A template took more time or memory than it may, or wrote more."""


class _Renderer:
    """The process, from this one's point of view."""

    def __init__(self) -> None:
        few_threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "USE_TORCH": "0"}
        seen = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        paths = os.pathsep.join(path for path in sys.path if path)
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__))],
            env={**seen, **few_threads, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if not self._read():
            raise OSError("the process that renders chat templates cannot be started: is transformers installed?")

    def ask(self, question: Mapping[str, Any]) -> dict[str, str]:
        """The answer; an empty one if the process has died of the question."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question, default=str).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return {}
        return self._read()

    def _read(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer: dict[str, str] = json.loads(line) if line.endswith(b"\n") else {}
        return answer

    def close(self) -> None:
        """End it."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.communicate()


_renderer: _Renderer | None = None
_lock = Lock()


def render(template: str, turns: Sequence[Mapping[str, Any]], *, generate: bool, values: Mapping[str, Any]) -> str:
    """Render a conversation as text.

    Args:
        template: of a tokenizer.
        turns: as transformers takes them.
        generate: whether the assistant's turn is begun after them.
        values: what the template can ask for besides: the tokenizer's special tokens.

    Raises:
        RefusedError: the template raises an error.
        TooMuchError: it takes more time or memory than it may, or writes more text.
    """
    global _renderer
    question = {
        "template": template,
        "turns": list(turns),
        "generate": generate,
        "values": dict(values),
        "seconds": SECONDS,
    }
    with _lock:
        if _renderer is None or _renderer.owner != os.getpid():  # a fork would talk into the other's words
            _renderer = _Renderer()
        answer = _renderer.ask(question)
        if not answer:
            _renderer.close()
            _renderer = None
    if (text := answer.get("text")) is not None:
        return text
    if "error" in answer:
        raise RefusedError(answer["error"])
    raise TooMuchError


@atexit.register
def _close() -> None:
    if _renderer is not None:
        _renderer.close()


# From here on, what is done in the process.


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer one question a line, until there are no more."""
    import signal

    from transformers.utils.chat_template_utils import render_jinja_template

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when to end
    _limit_memory()
    _answer(answers, {"ready": ""})
    for line in questions:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, question["seconds"])  # its signal ends the process, whatever it is at
        try:
            rendered = render_jinja_template(
                conversations=[question["turns"]],
                chat_template=question["template"],
                add_generation_prompt=question["generate"],
                **question["values"],
            )
            text = str(rendered[0][0])
            if len(text) > TIMES * len(line) + MORE:
                raise MemoryError
            _answer(answers, {"text": text})
        except (MemoryError, RecursionError):
            _answer(answers, {"too": "much"})
        except Exception as error:  # of any kind: it is the template's
            _answer(answers, {"error": str(error)[:1000]})
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _answer(answers: IO[bytes], answer: Mapping[str, str]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _limit_memory() -> None:
    """Of the system's limits, that of addresses, which is the only one that ends a single large allocation."""
    import resource

    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    except (OSError, ValueError):  # macOS knows no such limit
        return


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
