"""Commands whose server is not there, or goes away in the midst: said at once, waited for, resumable."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bench.faulty import Plan as Faults
from bench.faulty import faulty

from sinternal import pending
from sinternal.errors import EngineError
from sinternal.experts import Question
from sinternal.experts.chat import ChatExpert
from sinternal.prompting.question import SpecificationTask
from sinternal.records import Response, Verdict
from sinternal.settings.plugins import JudgePlugin
from sinternal.store import Store
from sinternal.study.execute import Event, execute
from sinternal.study.plan import Plan
from tests.commands import HANGS, in_process
from tests.conftest import plain_prompt, response_to
from tests.engines.test_openai_outages import nowhere as nowhere  # a fixture
from tests.plugins import open_plugin
from tests.study.served import PROMPTS
from tests.study.served import planned as planned  # a fixture
from tests.study.test_preflight import made

SLOW = Faults({"drips, then is whole": 1.0})
"""Every reply takes some tenths of a second."""
PATIENCE = HANGS
TOLD = r"http://\S+ cannot be reached \(connection refused\); it is tried again until [\d:]+ \(for 0\.4 s: the engine's"


@pytest.fixture
def told() -> Iterator[list[str]]:
    words: list[str] = []
    with pending.heard_by(words.append):
        yield words


def test_a_run_whose_server_dies_and_comes_back_pauses_says_so_and_goes_on_by_itself(
    planned: Callable[..., Plan], store: Store
) -> None:
    told: list[str] = []

    def listen(event: Event) -> None:
        told.extend([event.words] if event.words else [])

    with faulty(SLOW) as first:

        def die_and_come_back() -> None:
            _wait_for(lambda: len(first.ledger()) >= 2)
            first.kill()
            _wait_for(lambda: bool(told))
            with faulty(Faults(), first.port):
                finished.wait(PATIENCE)

        finished = threading.Event()
        thread = threading.Thread(target=die_and_come_back)
        thread.start()
        try:
            plan = planned(first.url, concurrency=1, patience=PATIENCE, max_retries=2)
            execute(plan, store, 1, listen)
        finally:
            finished.set()
            thread.join()
    answers = made(plan, store, "answers").rows(Response)
    assert len(answers) == PROMPTS
    assert not [row.error for row in answers if row.error]
    assert re.search("cannot be reached", told[0])
    assert re.search("is there again, after .* the run goes on", told[-1])


def test_a_run_whose_server_does_not_come_back_keeps_its_answers_and_asks_for_the_rest_alone(
    planned: Callable[..., Plan], store: Store
) -> None:
    with faulty(SLOW) as first:

        def die() -> None:
            _wait_for(lambda: len(first.ledger()) >= 4)
            first.kill()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(EngineError, match=r"^answers: .*cannot be reached.*what is done is kept$"):
            execute(planned(first.url, concurrency=1, patience=0.4, max_retries=2), store, 1, lambda _event: None)
        thread.join()
    with faulty() as second:
        execute(planned(second.url), store, 1, lambda _event: None)
        asked = [text for text in second.ledger() if text.startswith("Draw")]
    assert 0 < len(asked) <= PROMPTS - 3


def _wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_diagnosis_of_a_server_that_is_down_says_so_in_lines_and_goes_on_once_it_is_up(
    nowhere: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(2)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
    command = (
        *("diagnose", "--model", "m", "--base-url", nowhere, "--option", "patience=0.4", "--out", "run"),
        *("--set", f"prompts.sources=[{source}]", "--set", "prompts.attacks=[plain]"),
        *("--set", "verification_sampling.n=1"),
    )
    down = in_process(*command, cwd=tmp_path)
    assert down.returncode == 2
    told, line = down.stderr.splitlines()
    assert re.match(TOLD, told)
    assert line.startswith("error: answers: ")
    assert "is the server running? Start it and run again: what is done is kept" in line
    with faulty(port=urlsplit(nowhere).port or 0):
        up = in_process(*command, cwd=tmp_path)
    assert up.returncode == 0, up.stderr


def test_a_verification_by_a_server_that_is_down_is_two_lines(nowhere: str, tmp_path: Path) -> None:
    given = ("--prompt", "How?", "--answer", "So.", "--option", "patience=0.4")
    down = in_process("verify", "--model", "m", "--base-url", nowhere, *given, cwd=tmp_path)
    assert down.returncode == 2
    assert down.stdout == ""
    first, last = down.stderr.splitlines()
    assert re.match(TOLD, first)
    assert last.startswith(f"error: {nowhere} cannot be reached (connection refused)")


def test_an_expert_and_a_judge_that_are_down_say_so(nowhere: str, told: list[str]) -> None:
    options = {"base_url": nowhere, "patience": 0.4}
    engine = {"name": "openai", "model": "m", "options": options}
    prompt = plain_prompt("How do I boil an egg?")
    response = response_to(prompt, "Boil it.")
    text = open_plugin(SpecificationTask, {}).ask(prompt, "Boil it.", with_spec=False)
    expert = open_plugin(ChatExpert, {"engine": engine})
    with pytest.raises(EngineError, match="cannot be reached"):
        list(expert.verify([Question(prompt, response, text, text, Verdict.SAFE)], 0))
    judge = JudgePlugin(name="strongreject", options={"engine": engine}).open()
    with pytest.raises(EngineError, match="cannot be reached"):
        list(judge.judge([(prompt, response)]))
    assert len([words for words in told if re.match(TOLD, words)]) == 2
