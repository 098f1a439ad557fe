"""What every command has: help with examples that are right, JSON alone where it is asked for, tables that fit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import get_type_hints

import pytest
import typer

from sinternal.cli import output, progress
from sinternal.cli.completion import (
    complete_arms,
    complete_diagnoses,
    complete_engines,
    complete_judges,
    complete_kinds,
    complete_listed,
    complete_paths,
    complete_recipes,
)
from sinternal.cli.examples import EXAMPLES
from sinternal.cli.main import app
from sinternal.cli.output import Terminal, print_table
from sinternal.cli.progress import Progress, duration, per_time
from tests.commands import COMMAND, in_process
from tests.conftest import TINY

GROUPS = {"", "export", "store", "world"}


def commands() -> dict[str, typer.models.CommandInfo]:
    """Every command that can be called, by its name."""
    named = {str(each.name): each for each in app.registered_commands}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        named |= {f"{group.name} {each.name}": each for each in group.typer_instance.registered_commands}
    return named


def test_every_command_has_examples_and_every_example_is_parsed() -> None:
    root = typer.main.get_command(app)
    known = commands()
    assert set(known) <= set(EXAMPLES)
    for name in (*GROUPS, *known):
        examples = EXAMPLES[name]
        assert len(examples) >= 2, name
        for example in examples:
            program, *words = shlex.split(example.partition(" > ")[0])
            assert program == "sinternal"
            command, context = root, None
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words[0]]  # type: ignore[attr-defined]
                words = words[1:]
            if command is not root:
                context = command.make_context(name, words)
                assert context.params is not None


def test_help_ends_in_examples_and_names_what_every_command_takes(tmp_path: Path) -> None:
    for arguments in (["plan"], ["store", "gc"], ["export", "model"]):
        done = in_process(*arguments, "--help", cwd=tmp_path)
        after = done.stdout.partition("Examples:")[2]
        assert "sinternal" in after
        assert "--debug" in after
        assert "--quiet" in after
    assert in_process(cwd=tmp_path).returncode == 0  # without anything, it says what there is


def test_json_is_alone_on_standard_output(tiny_run: Path, tmp_path: Path) -> None:
    run = str(tiny_run)
    for arguments in (
        ("report", run),
        ("compare", run, run),
        ("plan", "quickstart"),
        ("list",),
        ("list", "attacks"),
        ("store", "size", run),
        ("store", "check", run),
        ("store", "gc", run),
        ("world", "show", "--rows", "2"),
        ("fetch",),
        ("check", "quickstart"),
    ):
        done = in_process(*arguments, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout), arguments
    results = json.loads(in_process("report", run, "--json", cwd=tmp_path).stdout)
    assert results == json.loads((tiny_run / "results.json").read_text())


def test_a_run_that_prints_json_tells_how_it_goes_elsewhere(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    given = ("run", "quickstart", "--out", "run", *(f"--set={each}" for each in TINY))
    done = in_process(*given, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tiny_run / "results.json").read_text())
    assert "artifacts were cached" in done.stderr
    assert "artifacts were cached" in in_process(*given, cwd=tmp_path).stdout


def test_quiet_leaves_out_notes_and_nothing_else(tiny_run: Path, tmp_path: Path) -> None:
    loud = in_process("report", str(tiny_run), cwd=tmp_path)
    quiet = in_process("--quiet", "report", str(tiny_run), cwd=tmp_path)
    wanted = [line for line in loud.stdout.splitlines() if not line.startswith("note:")]
    assert quiet.stdout.splitlines() == wanted
    assert len(wanted) < len(loud.stdout.splitlines())
    assert "no such file" in in_process("--quiet", "run", "nosuch", cwd=tmp_path).stderr


@pytest.mark.parametrize("arguments", [["list", "attacks"], ["report"], ["report", "--json"]])
def test_a_reader_who_has_had_enough_ends_a_command_as_the_page_says(tiny_run: Path, arguments: list[str]) -> None:
    command = [*arguments, *([str(tiny_run)] if arguments[0] == "report" else [])]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, *command], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.stderr, done.returncode) == (b"", 141)


def test_a_mistyped_run_gets_the_nearest_one_and_debug_keeps_the_exit_code(tiny_run: Path, tmp_path: Path) -> None:
    near = tiny_run.with_name(tiny_run.name[:-1])
    for more in ((), ("--debug",)):
        failed = in_process("judge", str(near), "--with", "oracle", *more, cwd=tmp_path)
        assert failed.returncode == 2
        assert f"did you mean {tiny_run}?" in failed.stderr
        assert ("Traceback" in failed.stderr) == bool(more)


def test_a_plug_in_is_shown_alone_with_what_its_options_mean(tmp_path: Path) -> None:
    shown = in_process("list", "judges", "qwen3guard", cwd=tmp_path).stdout
    assert "Qwen3Guard-Gen 0.6B" in shown
    assert "engine (needed): Who runs the judge" in shown
    assert 'safe: They count as safe: its "loose" mode.' in shown
    assert in_process("list", "benchmarks", "xstest", cwd=tmp_path).stdout.startswith("xstest\n  Paul/XSTest")
    (told,) = json.loads(in_process("list", "attacks", "pair", "--json", cwd=tmp_path).stdout)
    assert told["family"] == "pair"
    for mistyped, hint in ((("judges", "qwenguard"), "'qwen3guard'"), (("judge",), "'judges'")):
        failed = in_process("list", *mistyped, cwd=tmp_path)
        assert failed.returncode == 2
        assert f"did you mean {hint}?" in failed.stderr


def test_ctrl_c_while_the_command_line_is_loaded_shows_no_traceback(tmp_path: Path) -> None:
    interrupted = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "typer.py").write_text(interrupted)
    for program in (["-m", "sinternal"], ["-c", "from sinternal.__main__ import main; main()"]):
        done = subprocess.run(
            [sys.executable, *program, "--version"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_sentences_of_results_are_broken_between_words_on_a_terminal_and_whole_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = "Of its answers to harmful requests a third are unsafe, by the judge that was named."
    for terminal in (True, False):
        written = StringIO()
        monkeypatch.setattr(output, "out", Terminal(width=40, file=written, force_terminal=terminal))
        output.print_sentence(words)
        lines = written.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == words
        assert (len(lines) > 1) == terminal


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_table_fits_the_terminal_and_loses_no_figure(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    monkeypatch.setattr(output, "out", Terminal(width=width, file=written))
    columns = ["arm", "attack success in all families", "n", "key", "helpful"]
    rows = [[f"arm-{n}", f"{n}.5 [1.0, 9{n}.0]", "1,234,567", "0" * 16, f"7{n}.0 [3.0, 80.0]"] for n in range(3)]
    print_table("A title", columns, rows, dispensable=["key"])
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    told = re.sub(r"\s", "", written.getvalue())
    for row in rows:
        for cell in (row[0], "1,234,567", *row[1].split(" [")[:1], row[4].partition(" ")[2]):
            assert re.sub(r"\s", "", cell) in told


def test_a_table_without_rows_and_of_one_column_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    monkeypatch.setattr(output, "out", Terminal(width=20, file=written))
    print_table(None, ["only"], [["x" * 50]])
    print_table(None, ["a", "b"], [])
    assert "a" in written.getvalue()


def test_off_a_terminal_it_is_told_once_a_minute_how_far_a_stage_is_and_how_long_it_takes() -> None:
    now, written = [0.0], StringIO()
    shown = Progress(Terminal(width=200, file=written), clock=lambda: now[0])
    with shown:
        move = shown.count("respond base, seed 0")
        for done in range(0, 101, 10):
            move(done, 100)
            now[0] += 20
    lines = written.getvalue().splitlines()
    assert lines == [
        "respond base, seed 0: 30 of 100, 30.0/min, 2 min left",
        "respond base, seed 0: 60 of 100, 30.0/min, 1 min left",
        "respond base, seed 0: 90 of 100, 30.0/min, 20 s left",
    ]


def test_what_was_done_before_an_interruption_counts_in_no_rate() -> None:
    now, written = [0.0], StringIO()
    with Progress(Terminal(width=200, file=written), clock=lambda: now[0]) as shown:
        move = shown.count("critique")
        move(900, 1000)
        now[0] = 60
        move(950, 1000)
    assert written.getvalue() == "critique: 950 of 1,000, 50.0/min, 1 min left\n"


def test_times_and_rates_are_written_for_people() -> None:
    assert [duration(each) for each in (0.2, 59, 61, 3600, 9000)] == ["1 s", "59 s", "1 min", "1 h 0 min", "2 h 30 min"]
    assert [per_time(each) for each in (0.05, 2, 1234)] == ["3.0/min", "2.0/s", "1,234/s"]
    assert progress.EVERY == 60


def test_a_shell_completes_recipes_arms_and_kinds(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_run.parent)
    assert complete_recipes("quick") == ["quickstart"]
    assert "judges" in complete_kinds("ju")
    assert complete_judges("qwen") == ["qwen3guard"]
    assert complete_engines("open") == ["openai"]
    assert f"{tiny_run.name}/" in complete_arms(tiny_run.name)
    assert complete_arms(f"{tiny_run.name}/s") == [f"{tiny_run.name}/sinternal"]
    assert complete_arms("/no/such/folder/x") == []
    asked = typer.Context(typer.main.get_command(app))
    asked.params = {"kind": "judges"}
    assert "qwen3guard" in complete_listed(asked, "qwen")
    (tiny_run.parent / "varied").mkdir(exist_ok=True)
    recipe = "arms: [{name: base}, {name: mine}]\nvariants: {mild: {}, odd: {}}\n"
    (tiny_run.parent / "varied/recipe.yaml").write_text(recipe)
    varied = str(tiny_run.parent / "varied")
    assert complete_arms(f"{varied}/m") == [f"{varied}/mine", f"{varied}/mild/"]
    assert complete_arms(f"{varied}/odd/") == [f"{varied}/odd/base", f"{varied}/odd/mine"]
    assert complete_diagnoses("def") == ["default"]
    assert complete_paths(f"{tiny_run.name}/results.js") == [f"{tiny_run.name}/results.json"]
    assert f"{tiny_run.name}/" in complete_paths(tiny_run.name)


def test_every_path_that_a_command_takes_is_completed() -> None:
    for name, command in commands().items():
        for argument, hint in get_type_hints(command.callback, include_extras=True).items():
            for taken in getattr(hint, "__metadata__", ()):
                if "Path" in str(hint.__origin__):
                    assert taken.autocompletion is not None, (name, argument)


def test_the_time_of_the_whole_run_is_told_from_what_artifacts_of_its_stages_took() -> None:
    now, written = [0.0], StringIO()
    shown = Progress(Terminal(width=200, file=written), clock=lambda: now[0])
    shown._waiting.update({"sample": 3, "sft": 1, "report": 1})
    assert shown._left_in_all() is None
    shown._seconds["sample"].append(60.0)
    assert shown._left_in_all() is None  # nothing is known of sft
    shown._seconds["sft"].append(120.0)
    assert shown._left_in_all() == 300.0
    now[0], shown._made = 100.0, 200.0  # two side by side
    assert shown._left_in_all() == 150.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "mine.yml"], "did you mean 'mine.yaml'?"),
        (["check", "quickstrat"], "did you mean 'quickstart'?"),
        (["show", "quickstrt"], "did you mean 'quickstart'?"),
        (["expot"], "no such command 'expot'. Did you mean 'export'"),
        (["export", "modle"], "no such command 'modle'. Did you mean 'model'? (see `"),
        (["run"], "missing argument 'RECIPE' (see `"),
        (["plan", "quickstart", "--mean-tokens", "x"], "invalid value for '--mean-tokens'"),
        (["verify", "--modle", "x"], "no such option: --modle; did you mean --model?"),
        (["check", "quickstart", "more"], "extra argument"),
    ],
)
def test_a_mistyped_word_is_one_line_with_the_one_that_was_meant(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("extends: quickstart\n")
    done = in_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    told = done.stderr + done.stdout
    assert message in told
    if arguments[0] != "check":
        assert len(done.stderr.splitlines()) == 1
        assert not done.stdout
