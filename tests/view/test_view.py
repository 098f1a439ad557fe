"""`sinternal view`: a real server, a real browser, and a run that goes on in another process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench.browser import browser
from filelock import FileLock

from sinternal.cli.view import doorway
from sinternal.errors import BudgetError, DataError, SInternalError
from sinternal.records import Finish, Judgement, Prompt, Response, Split, Verdict, Verification
from sinternal.settings.recipe import load_recipe
from sinternal.store import Artifact, Draft, Store
from sinternal.store.sums import SUMS
from sinternal.study.execute import Event
from sinternal.study.live import PROGRESS, diary, goes_on
from sinternal.study.plan import make_plan
from sinternal.tools.diagnosis import load_diagnosis, plan_diagnosis
from sinternal.view.content import Curve, Made, curves, newest_figures
from sinternal.view.journal import TaskState
from sinternal.view.runs import Runs, State, ViewedRun
from sinternal.view.server import Served, View, listen
from tests.commands import COMMAND, HANGS, in_process
from tests.conftest import WatchedRun
from tests.report.browser import chromium

NASTY = "<img src=x onerror=alert(1)>\u202e'\"&"


def make(store: Store, stage: str, key: str, build: Callable[[Draft], object], **inputs: str) -> Artifact:
    return store.make(stage, key, build, stage_version=1, config={}, inputs=inputs, progress=lambda *_: None)


def ask(served: Served, path: str, *, token: str | None = None, host: str | None = None, method: str = "GET"):
    """A request as somebody else than our page may send it: status, headers, body."""
    address = urlsplit(served.address)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=HANGS)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    if token is not None:
        connection.putheader("X-Sinternal-Token", token)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, dict(reply.getheaders()), body


def token_of(served: Served) -> str:
    return urlsplit(served.address).fragment.removeprefix("token=")


def get(served: Served, path: str):
    status, _, body = ask(served, path, token=token_of(served))
    assert status == 200, body
    return json.loads(body)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs by somebody who means harm: one was killed, one failed, one has a link for a report."""
    root = tmp_path_factory.mktemp("runs")
    killed = root / NASTY.replace("/", "-")
    killed.mkdir()
    store = Store(killed / "artifacts")
    prompt = Prompt("p", "p", NASTY, True, NASTY, NASTY, Split.OOD)
    rows = [Response(f"r{i}", "p", i, f"<script>alert(2)</script> {i}", NASTY, Finish.STOP) for i in range(3)]

    def stop(draft) -> None:
        def some(_complete) -> Iterator[Response]:
            yield from rows
            raise SInternalError("stopped")

        draft.stream(Response, some, total=9, group=lambda row: row.id)

    make(store, "prompts", "a" * 16, lambda draft: draft.write([prompt], Prompt))
    with pytest.raises(SInternalError):
        make(store, "sample", "b" * 16, stop)
    make(store, "judge", "c" * 16, lambda draft: draft.write([Judgement("j", "r1", "j", "answer", False)], Judgement))
    tasks = [
        {"stage": "prompts", "key": "a" * 16, "label": NASTY, "inputs": {}},
        {"stage": "sample", "key": "b" * 16, "label": NASTY, "inputs": {"prompts": 0}},
        {"stage": "judge", "key": "c" * 16, "label": NASTY, "inputs": {"responses": 1, "odd": 99}},
        {"stage": "../..", "key": "../../../etc", "label": "elsewhere", "inputs": {}},
    ]
    start = {
        "version": 1,
        "started": 1e9,
        "process": 1,
        "host": os.uname().nodename,
        "store": "artifacts",
        "tasks": tasks,
    }
    lines = [start, {"at": 1e9, "task": 1, "done": 3, "total": 9}, {"at": 1e9, "task": 77, "done": 1, "total": 2}]
    lines.append({"at": 1e9, "task": 1, "words": NASTY})
    (killed / PROGRESS).write_text("".join(json.dumps(line) + "\n" for line in lines) + '[[]]\nnull\n{"torn')
    failed = root / "deep" / "er" / "failed"
    failed.mkdir(parents=True)
    (failed / PROGRESS).write_text(
        json.dumps(start) + "\n" + json.dumps({"at": 1, "end": "failed", "why": NASTY}) + "\n"
    )
    linked = root / "linked"
    linked.mkdir()
    (linked / "results.json").write_text("{}")
    (linked / "report.html").symlink_to("/etc/passwd")
    (root / "file").write_text("no run")
    return root


@pytest.fixture(scope="module")
def served(nasty: Path) -> Iterator[Served]:
    server = listen(nasty, 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join()


def test_a_run_is_watched_while_another_process_is_at_it(watched_run: WatchedRun) -> None:
    states = [run["state"] for run in watched_run.seen]
    assert State.RUNNING in states
    assert watched_run.state.state is State.FINISHED
    going = [task for run in watched_run.seen for task in run["list"] if task["state"] == "running"]
    assert any(0 < task["done"] <= task["total"] for task in going)
    assert any(run["made"] for run in watched_run.seen if run["state"] == State.RUNNING)
    growing = [curve for run in watched_run.seen for curve in run["curves"] if curve["growing"]]
    assert growing, "the loss was seen before the training was over"
    (whole,) = curves(made for made in watched_run.made() if made.stage == "sft")
    for curve in growing:
        points = [tuple(point) for point in curve["figures"]["loss"]]
        assert points == whole.figures["loss"][: len(points)]
    assert not list(watched_run.folder.rglob(PROGRESS))
    assert not list(watched_run.folder.rglob("curve.jsonl"))


def test_a_stage_that_counts_no_rows_yet_is_seen_by_its_lock(watched_run: WatchedRun, tmp_path: Path) -> None:
    plan = make_plan(load_recipe("quickstart"))
    with diary(tmp_path, plan, tmp_path / "artifacts"):
        place = tmp_path / "artifacts" / "target"
        place.mkdir(parents=True)
        task = next(task for task in plan.tasks if task.stage.name == "target")
        run = Runs(tmp_path).all()[0]
        view = View(Runs(tmp_path), "t")

        def states() -> dict[str, Any]:
            content = json.loads(view.answer(f"/api/runs/{run.id}", "t").body)
            return {row["label"]: row for row in content["list"]}

        assert states()[task.label]["state"] == "waiting"
        with FileLock(place / f"{task.key}.lock"):
            row = states()[task.label]
            assert row["state"] == "running"
            assert time.time() - 60 < row["began"] <= time.time() + 1
        assert states()[task.label]["state"] == "waiting"
    losses = [task["words"] for run in watched_run.seen for task in run["list"] if task["stage"] == "sft"]
    assert any(words.startswith("loss ") for words in losses)


def test_the_list_has_the_main_figures_of_finished_studies(watched_run: WatchedRun) -> None:
    (run,) = Runs(watched_run.folder.parent).all()
    lines = run.figures()
    assert [line.partition(":")[0] for line in lines] == ["base", "sinternal"]
    assert all("ASR OOD " in line and "over-refusal OOD " in line for line in lines)


def test_a_copy_without_texts_that_is_a_folder_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "redacted" / "report-texts").mkdir(parents=True)
    for name in ("results.json", "report.html", "redacted/report.html", "redacted/report-texts/ab.css"):
        (folder / name).write_text("{}")
    view = View(Runs(tmp_path), "t")
    (run,) = view.runs.all()
    for name in ("redacted/report.html", "redacted/report-texts/ab.css"):
        assert view.answer(view.report_address(run, name), None).status == 200
    for name in ("redacted/redacted/report.html", "other/report-texts/ab.css", "redacted/results.json"):
        assert view.answer(view.report_address(run, name), None).status == 404
    (folder / "redacted").rename(tmp_path / "elsewhere")
    (folder / "redacted").symlink_to(tmp_path / "elsewhere")
    assert view.answer(view.report_address(run, "redacted/report-texts/ab.css"), None).status == 404


def test_a_browser_is_opened_by_a_file_of_ones_own_and_no_token_is_on_its_command_line() -> None:
    with doorway("http://127.0.0.1:1/#token=secret") as address:
        assert "secret" not in address
        page = Path(urlsplit(address).path)
        assert page.stat().st_mode & 0o777 == 0o600
        assert page.parent.stat().st_mode & 0o777 == 0o700
        assert "url=http://127.0.0.1:1/#token=secret" in page.read_text()
    assert not page.parent.exists()


def test_a_finished_run_shows_its_answer_texts_curves_and_report(watched_run: WatchedRun) -> None:
    view = View(Runs(watched_run.folder.parent), "t")
    (row,) = json.loads(view.answer("/api/runs", "t").body)["runs"]
    assert row["answer"]
    whole = json.loads(view.answer(f"/api/runs/{row['id']}", "t").body)
    assert whole["curves"]
    texts = json.loads(view.answer(f"/api/runs/{row['id']}/texts?most=6", "t").body)["texts"]
    assert {text["stage"] for text in texts} == {"sample", "self_verify"}, "one artifact of each before a second of one"
    assert {text["outcome"] for text in texts if text["stage"] == "sample"} <= {"safe", "unsafe", "refused", "no label"}
    assert all(text["prompt"] and text["answer"] for text in texts)
    report = view.answer(row["report"], None)
    assert report.body == (watched_run.folder / "report.html").read_bytes()
    assert report.policy.startswith("sandbox")
    both = json.loads(view.answer(f"/api/compare/{row['id']}/{row['id']}", "t").body)
    assert {pair["title"] for pair in both["pairs"]} == {"base", "sinternal"}
    hidden = View(Runs(watched_run.folder.parent), "t", texts=False)
    assert json.loads(hidden.answer(f"/api/runs/{row['id']}/texts", "t").body) == {"texts": [], "left_out": True}


def test_a_finished_diagnosis_shows_answers_and_verdicts_and_first_one_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    store = Store(folder / "artifacts")
    prompts = [Prompt(name, name, name, name == "bad", "b", "plain", Split.ID) for name in ("bad", "good")]
    answers = [Response(name, name[2:], 0, "hm", "sure", Finish.STOP) for name in ("a-bad", "b-bad", "a-good")]
    labels = [Judgement(f"j-{row.id}", row.id, "j", "answer", row.id != "a-bad") for row in answers]
    unread = Verification("u", "a-good", "self", False, "safe?", "well", "who knows", None, finish=Finish.STOP)
    cut = replace(unread, id="c", response_id="a-bad", answer=None, finish=Finish.LENGTH)
    lost = replace(unread, id="l", critique=None, answer=None, dropped="away", finish=Finish.ERROR)
    read = [replace(unread, id=f"v{i}", response_id="b-bad", verdict=Verdict.SAFE) for i in range(20)]
    for stage, key, rows in (
        ("prompts", "a", prompts),
        ("sample", "b", answers),
        ("judge", "c", labels),
        ("self_verify", "d", [unread, cut, lost, *read]),
    ):
        make(store, stage, key * 16, lambda draft, rows=rows: draft.write(rows, type(rows[0])))
    inputs = {"prompts": "a", "responses": "b", "judgements": "c", "verifications": "d"}
    made = make(
        store,
        "diagnosis",
        "e" * 16,
        lambda draft: (draft.path / "diagnosis.json").write_text("{}"),
        **{name: key * 16 for name, key in inputs.items()},
    )
    (folder / "diagnosis.json").write_text("{}")
    (folder / SUMS).write_text(f"{made.manifest['files']['diagnosis.json']}  diagnosis.json\n")
    view = View(Runs(tmp_path), "t")
    (run,) = json.loads(view.answer("/api/runs", "t").body)["runs"]
    texts = json.loads(view.answer(f"/api/runs/{run['id']}/texts?most=8", "t").body)["texts"]
    told = {
        label: [(text["harmful"], text["outcome"]) for text in texts if text["label"] == label]
        for label in ("answers", "verifications")
    }
    assert told["answers"] == [(False, "safe"), (True, "safe"), (True, "unsafe")]
    cut_short = "no readable verdict; ran into the token limit (2 of 23); answer labelled unsafe"
    of_a_refusal = (True, "verdict: safe; answer labelled safe")  # safe, and yet its question quotes a harmful request
    assert told["verifications"] == [(True, cut_short), *[of_a_refusal] * 3]


def test_a_run_that_was_killed_is_stopped_and_one_that_failed_says_why(served: Served, nasty: Path) -> None:
    runs = {run["state"]: run for run in get(served, "/api/runs")["runs"]}
    assert set(runs) == {State.STOPPED, State.FAILED, State.FINISHED}
    assert "killed" in runs[State.STOPPED]["why"]
    assert "onerror" in runs[State.FAILED]["why"]
    assert "\u202e" not in json.dumps(runs, ensure_ascii=False)
    hidden = View(Runs(nasty), "t", texts=False)
    rows = json.loads(hidden.answer("/api/runs", "t").body)["runs"]
    (failed,) = [row for row in rows if row["state"] == State.FAILED]
    assert "onerror" not in failed["why"], "an error may quote what a model wrote"
    (killed,) = [row for row in rows if row["state"] == State.STOPPED]
    for view, told in ((hidden, False), (View(Runs(nasty), "t"), True)):
        words = json.loads(view.answer(f"/api/runs/{killed['id']}", "t").body)["list"][1]["words"]
        assert ("onerror" in words) == bool(words) == told, "and so may what a stage says of itself"
    whole = get(served, f"/api/runs/{runs[State.STOPPED]['id']}")
    assert [task["state"] for task in whole["list"]] == ["waiting", "interrupted", "waiting", "waiting"]
    texts = get(served, f"/api/runs/{runs[State.STOPPED]['id']}/texts")["texts"]
    assert [(text["harmful"], text["outcome"]) for text in texts] == [(True, ""), (True, "unsafe"), (True, "")]


def test_numbers_that_are_none_in_one_run_keep_nobody_from_the_others(nasty: Path, tmp_path: Path) -> None:
    (odd := tmp_path / "odd").mkdir()
    start = next(nasty.glob(f"*/{PROGRESS}")).read_text().splitlines()[0]
    numbers = ("NaN", "-Infinity", "1e999", "1" + "0" * 400, '"1"', "null")
    lines = [
        line
        for number in numbers
        for line in (
            start.replace("1000000000.0", number),
            f'{{"at": {number}, "task": 1, "done": 1, "total": 2}}',
            f'{{"at": 1, "task": {number}, "done": 1, "total": 2}}',
            f'{{"at": 1, "task": 1, "done": {number}, "total": {number}}}',
            f'{{"at": 1, "task": 1, "seconds": {number}, "spent": {{"cost": {number}}}}}',
        )
    ]
    (odd / PROGRESS).write_text("\n".join([start, '{"at": 2, "task": 1, "done": 1, "total": 2}', *lines, ""]))
    (odd / "artifacts" / "sft" / f"{'b' * 16}.partial" / "model.checkpoints").mkdir(parents=True)
    points = (f'{{"of": "training", "step": {step}, "loss": {number}}}' for number in numbers for step in (1, number))
    (growing := Made("x", "sft", odd / "artifacts" / "sft" / f"{'b' * 16}.partial", True, {})).folder.joinpath(
        "model.checkpoints", "curve.jsonl"
    ).write_text("\n".join([*points, '{"of": "training", "step": 2, "loss": 0.5}']))
    (fine := tmp_path / "fine").mkdir()
    (fine / PROGRESS).write_text(start + "\n")
    view = View(Runs(tmp_path), "token")
    runs = {run["name"]: run for run in json.loads(view.answer("/api/runs", "token").body)["runs"]}
    assert runs.keys() == {"odd", "fine"}
    assert runs["odd"]["started"] == runs["fine"]["started"] == 1e9
    whole = view.answer(f"/api/runs/{runs['odd']['id']}", "token")
    assert whole.status == 200
    assert [(task["done"], task["total"]) for task in json.loads(whole.body)["list"]][1] == (1, 2)
    assert [curve.figures for curve in curves([growing])] == [{"loss": [(2, 0.5)]}]


def test_nobody_else_is_served(served: Served) -> None:
    token = token_of(served)
    assert ask(served, "/api/runs")[0] == 403
    assert ask(served, "/api/runs", token=token[:-1])[0] == 403
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert ask(served, "/api/runs", token=token, host=host)[0] == 421
    for host in ("localhost:9", "127.0.0.1", "[::1]:80"):
        assert ask(served, "/api/runs", token=token, host=host)[0] == 200
    assert ask(served, "/api/runs", token=token, method="POST")[0] == 501
    assert urlsplit(served.address).hostname == "127.0.0.1"
    status, headers, body = ask(served, "/")
    assert status == 200
    assert token.encode() not in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_no_address_leads_to_a_file_that_is_not_known(served: Served, nasty: Path) -> None:
    token = token_of(served)
    runs = {run["name"]: run for run in get(served, "/api/runs")["runs"]}
    assert runs["linked"]["report"] is None
    view = View(Runs(nasty), token)
    linked = next(run for run in view.runs.all() if run.name == "linked")
    paths = [view.report_address(linked, name) for name in ("report.html", "results.json", "../file", "x/report.html")]
    paths += ["/report/../../etc/passwd", "/../file", "/file", "//etc/passwd", "/api/runs/../..", "/api/runs/%2e%2e"]
    paths += [f"/report/{linked.id}/{'0' * 32}/report.html", "/page.html"]
    for path in paths:
        assert ask(served, path, token=token)[0] == 404, path
    elsewhere = TaskState("../..", "../../../etc", "", {})
    assert ViewedRun(nasty / "linked", "linked").artifact(elsewhere) is None


def test_the_page_shows_hostile_names_and_texts_and_runs_nothing_of_them(served: Served) -> None:
    chromium()
    base, fragment = served.address.split("#")
    with browser() as page:
        seen = page.open(base, f"#{fragment}")
        wait(page, "document.querySelectorAll('tbody tr').length === 3")
        assert page.run("[...document.querySelectorAll('.badge')].map(b => b.textContent).sort().join()") == (
            "failed,finished,stopped"
        )
        page.run("[...document.querySelectorAll('th a')].find(a => a.textContent.includes('onerror')).click()")
        wait(page, "document.querySelectorAll('details.text').length === 3")
        assert "script" not in page.run("document.getElementById('texts').innerText"), "harmful texts are folded"
        page.run("document.querySelectorAll('details.text')[1].open = true")
        wait(page, "document.getElementById('texts').innerText.includes('<script>alert(2)</script> 1')")
        time.sleep(2.5)  # another turn of asking leaves what is open as it is
        assert page.run("document.querySelectorAll('details.text[open]').length") == 1
        assert page.run("document.querySelectorAll('main img, main script').length") == 0
        assert (seen.dialogs, seen.refused) == ([], [])
        assert all(url.startswith(base + "api/") for url in seen.requests)
        seen = page.open(base)
        wait(page, "document.body.innerText.includes('with its token')")


def wait(page, condition: str) -> None:
    end = time.monotonic() + HANGS
    while not page.run(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.05)


def test_ctrl_c_ends_it_in_one_line_and_an_empty_folder_is_no_mistake(tmp_path: Path) -> None:
    command = [*COMMAND, "view", str(tmp_path), "--port", "0", "--no-browser"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are started deaf to it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=heed, **pipes) as process:
        address = process.stdout.readline().strip()
        served = Served(address, lambda: None, lambda: None)
        assert get(served, "/api/runs")["runs"] == []
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 0
    assert err == "view ended; runs go on\n"
    missing = in_process("view", "nowhere", cwd=tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (KeyboardInterrupt(), State.STOPPED, "interrupted by its user"),
        (BudgetError("the budget of 3 is spent"), State.STOPPED, "the budget of 3 is spent"),
        (DataError("a row is odd; mend it"), State.FAILED, "a row is odd; mend it"),
        (RuntimeError(NASTY), State.FAILED, "RuntimeError: <img"),
    ],
)
def test_a_run_says_why_it_ended_and_the_next_one_begins_anew(
    error: BaseException, state: State, why: str, tmp_path: Path
) -> None:
    plan, run = make_plan(load_recipe("quickstart")), ViewedRun(tmp_path, "x")

    def go_on() -> None:
        with diary(tmp_path, plan, tmp_path / "artifacts") as kept:
            kept.note(Event(plan.tasks[3], 1, 10))
            assert run.standing().state is State.RUNNING
            assert (run.journal.tasks[3].done, run.journal.tasks[3].total) == (1, 10)
            with diary(tmp_path, plan, tmp_path / "artifacts") as second:
                assert second is None, "the same run goes on elsewhere"
            raise error

    with pytest.raises(type(error)):
        go_on()
    assert run.standing().state is state
    assert run.standing().why.startswith(why)
    with diary(tmp_path, plan, tmp_path / "artifacts"):
        assert run.standing().state is State.RUNNING
        assert run.journal.tasks[3].done == 0
    assert not (tmp_path / PROGRESS).exists()


def test_a_diagnosis_is_one_before_it_is_finished(tmp_path: Path) -> None:
    run = ViewedRun(tmp_path, "audit")

    def begin() -> None:
        with diary(tmp_path, plan_diagnosis(load_diagnosis("microworld")), tmp_path / "artifacts"):
            run.standing()
            assert run.is_diagnosis
            raise DataError("the server is away")

    with pytest.raises(DataError):
        begin()
    assert run.standing().state is State.FAILED
    assert run.is_diagnosis


def test_who_only_looks_keeps_no_run_from_its_diary(tmp_path: Path) -> None:
    path = tmp_path / PROGRESS
    path.write_text("")
    assert not goes_on(path)
    assert not goes_on(tmp_path / "nothing")
    run = ViewedRun(tmp_path, "x")
    assert run.standing().state is State.STOPPED
    assert path.read_text() == ""


def test_a_curve_that_grows_is_read_up_to_where_it_is_torn(tmp_path: Path) -> None:
    folder = tmp_path / "model.checkpoints"
    folder.mkdir()
    lines = ['{"of": "training", "step": 1, "loss": 2.0}', '{"of": "training", "step": 2, "loss": NaN}', "nonsense"]
    lines += ['{"of": "training", "step": 1, "loss": 1.5}', '{"of": "held out", "step": 1, "asr": 0.5}', '{"of": "tr']
    (folder / "curve.jsonl").write_text("\n".join(lines))
    training, held_out = curves([Made("x", "grpo", tmp_path, True, {})])
    assert training.figures == {"loss": [(1, 1.5)]}
    assert held_out.figures == {"asr": [(1, 0.5)]}


def test_what_a_training_tells_now_is_its_own_reward_or_loss_and_not_that_of_held_out_prompts() -> None:
    log = {"loss": [(1, 0.5), (2, -0.25)]}
    rewarded = Curve("a", "grpo", "training", True, {**log, "reward": [(1, 0.1), (2, 0.75)]})
    held_out = Curve("a", "grpo", "held out", True, {"reward": [(1, 0.9)]})
    tuned = Curve("a", "sft", "training", True, log)
    finished = Curve("b", "sft", "training", False, log)
    assert newest_figures([rewarded, held_out, tuned, finished]) == {
        ("grpo", "a"): "reward 0.75 at step 2",
        ("sft", "a"): "loss \N{MINUS SIGN}0.25 at step 2",
    }
