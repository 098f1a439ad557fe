"""Text of others that is printed steers no terminal, and nothing in it is a mark of Rich's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from bench.hostile_texts import corpus
from hypothesis import given
from hypothesis import strategies as st

from sinternal.cli.output import Terminal, print_named, print_note, print_table, tell
from sinternal.cli.progress import Progress
from sinternal.records import Verdict
from sinternal.tools.verifier import Verified, to_line
from sinternal.visible import visible, visible_json, visible_line
from tests.commands import in_process

TEXTS = [nasty.text for nasty in corpus() if len(nasty.text) < 2_000]
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What Rich itself sends: styles, and moves of the cursor."""


@given(st.text(st.characters()))
def test_what_is_visible_steers_nothing_and_other_text_stays(text: str) -> None:
    assert not STEERS.search(visible(text))
    assert visible(visible(text)) == visible(text)
    assert "\n" not in visible_line(text)
    kept = re.sub(r"[^\w .,;:!?]", "", text, flags=re.ASCII)
    assert visible(kept) == kept


@given(st.text(st.characters()))
def test_json_that_spells_out_marks_says_the_same(text: str) -> None:
    line = visible_json(json.dumps(text, ensure_ascii=False))
    assert not STEERS.search(line)
    assert json.loads(line) == text


def test_the_line_of_a_verdict_is_one_line_whatever_the_model_wrote() -> None:
    for text in TEXTS:
        line = to_line(Verified(text, Verdict.SAFE, text, text, 0.5, False, text, text))
        assert len(line.splitlines()) == 1
        assert not STEERS.search(line)
        assert json.loads(line)["said"] == text


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """All that was printed until now."""
    written = StringIO()
    monkeypatch.setattr("sinternal.cli.output.out", Terminal(width=100, file=written))
    monkeypatch.setattr("sys.stderr", written)
    return written.getvalue


def test_nothing_that_is_printed_steers(screen: Callable[[], str]) -> None:
    for text in TEXTS:
        print_note(text)
        print_named(text, f": {text}")
        print_table(text[:200], [text[:40], "b"], [[text[:200], text[:200]]])
        tell(f"error: {text}")
    assert not STEERS.search(screen())
    for mark in ("[/x]", "[red]", "[bold]b[/bold]", ":smiley:", "\\x1b]0;title\\x07", "\\x9b31m"):
        assert mark in screen(), mark


def test_on_a_terminal_only_our_own_styles_are_sent(tmp_path: Path) -> None:
    written = StringIO()
    console = Terminal(width=60, file=written, force_terminal=True)
    with Progress(console) as progress:
        progress.log = tmp_path / "log.txt"
        for text in TEXTS[::5]:
            progress._say(text)
            progress.count(text)(1, 2)
            progress.bars.refresh()
            progress._remove(text)
    assert not STEERS.search(OURS.sub("", written.getvalue()).replace("\r", ""))
    assert not STEERS.search(progress.log.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["[/x]", "[red]", "[bold]x", ":smiley:", "a b", "\u202egnp"])
def test_a_name_in_an_error_is_printed_as_it_is(name: str, tmp_path: Path) -> None:
    for arguments in (
        ["report", f"runs/{name}"],
        ["run", name, "--out", f"runs/{name}"],
        ["plan", "quickstart", "--set", name],
    ):
        done = in_process(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert visible(name) in done.stderr
        assert done.stderr.count("\n") == 1
