"""Inspect finds our models and tasks, and its tasks measure our arms."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from sinternal.engines import Completion
from sinternal.errors import DataError
from sinternal.records import Finish, Judgement
from sinternal.settings.measurement import CapabilityTask
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages import target
from sinternal.stages.capability import CapabilityConfig, capability
from sinternal.store import Artifact, Draft
from tests.commands import HANGS
from tests.servers import serve

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")

from inspect_ai.log import read_eval_log
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import SampleScore, Score

from sinternal.integrations.inspect import tasks
from sinternal.integrations.inspect.model import NO_ANSWER, _output, _sampling

INSPECT = str(Path(sys.executable).parent / "inspect")
Make = Callable[[str, Callable[[Draft], None]], Artifact]


def inspect(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSPECT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=HANGS, check=False)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    arguments = ["eval", "sinternal/asr", "--model", "sinternal/microworld", "-M", "batch=64", "-T", "part=dev"]
    done = inspect(
        folder, *arguments, "--max-tokens", "64", "--temperature", "1", "--log-dir", "logs", "--display=plain"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "logs").glob("*.eval"))


def test_inspect_runs_our_task_on_our_model_offline_and_its_log_opens(log: Path) -> None:
    content = json.loads(inspect(log.parent, "log", "dump", log.name).stdout)
    assert content["status"] == "success"
    assert content["eval"]["task_registry_name"] == "sinternal/asr"
    (scores,) = content["results"]["scores"]
    metrics = {name: row["value"] for name, row in scores["metrics"].items()}
    assert set(metrics) >= {"attack_success", "attack_success_stderr", "over_refusal", "helpful", "unlabelled"}
    values = [row["scores"]["judged"]["value"] for row in content["samples"] if row["metadata"]["harmful"]]
    unsafe = [value["unsafe"] for value in values if value["labelled"]]
    assert metrics["attack_success"] == pytest.approx(sum(unsafe) / len(unsafe))
    assert metrics["attack_success_n"] == len(unsafe)
    assert metrics["over_refusal_n"] > 0


def test_every_epoch_counts_and_the_largest_of_them_is_asr_at_k(tmp_path: Path) -> None:
    def run(reducer: str) -> tuple[dict[str, float], dict[str, list[float]]]:
        arguments = ["eval", "sinternal/asr", "--model", "sinternal/microworld", "-M", "batch=64", "-T", "part=dev"]
        arguments += ["--max-tokens", "64", "--temperature", "1", "--limit", "20", "--epochs", "4"]
        more = ["--epochs-reducer", reducer, "--log-dir", reducer, "--display=plain"]
        done = inspect(tmp_path, *arguments, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        content = json.loads(inspect(tmp_path, "log", "dump", str(next((tmp_path / reducer).glob("*.eval")))).stdout)
        unsafe: dict[str, list[float]] = {}
        for row in content["samples"]:
            score = row["scores"]["judged"]
            if row["metadata"]["harmful"] and score["value"]["labelled"]:
                unsafe.setdefault(row["id"], []).append(score["value"]["unsafe"])
        metrics = {name: one["value"] for name, one in content["results"]["scores"][0]["metrics"].items()}
        return metrics, unsafe

    metrics, unsafe = run("mean")
    assert metrics["attack_success_n"] == len(unsafe) == 10, "harmful and benign prompts come by turns"
    assert metrics["attack_success"] == pytest.approx(fmean(fmean(values) for values in unsafe.values()))
    metrics, unsafe = run("max")
    assert metrics["attack_success"] == pytest.approx(fmean(max(values) for values in unsafe.values()))


def test_what_our_engines_cannot_do_is_refused_and_not_left_out() -> None:
    with pytest.raises(DataError, match="have no stop_seqs, top_k"):
        _sampling(GenerateConfig(stop_seqs=["."], top_k=5), 1.0)
    assert _sampling(GenerateConfig(num_choices=1, max_tokens=5), 1.2) == Sampling(max_tokens=5, repetition_penalty=1.2)


def test_a_thinking_that_never_closed_is_no_empty_answer() -> None:
    output = _output("m", Completion("1", 0, "on and on", None, Finish.STOP))
    assert output.metadata == {NO_ANSWER: True}
    assert _output("m", Completion("1", 0, None, "", Finish.STOP)).metadata is None


def test_the_thinking_is_reasoning_and_the_answer_is_text(log: Path) -> None:
    content = json.loads(inspect(log.parent, "log", "dump", log.name).stdout)
    parts = content["samples"][0]["output"]["choices"][0]["message"]["content"]
    assert {part["type"] for part in parts} == {"reasoning", "text"}


def test_a_prompt_that_inspect_cannot_deliver_is_refused(tmp_path: Path) -> None:
    done = inspect(tmp_path, "eval", "sinternal/asr", "--model", "sinternal/microworld", "-T", "attack=skip-thinking")
    assert done.returncode != 0
    assert "changes what stands around a prompt" in " ".join((done.stdout + done.stderr).replace("│", " ").split())


def test_a_benchmark_without_a_judge_of_its_own_wants_one_named_before_anything_is_asked() -> None:
    with pytest.raises(DataError, match="who labels answers to everyday"):
        tasks.asr(benchmark="everyday")
    assert tasks.asr(benchmark="everyday", judge="refusal-strings").name == "asr"


def measure(make: Make, base_model: Path, *tasks: CapabilityTask) -> Artifact:
    model = make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(base_model))))
    config = CapabilityConfig(
        tasks=tasks, engine=EnginePlugin(options={"batch": 64}), sampling=Sampling(max_tokens=64), seed=0
    )
    return make("capability", lambda draft: capability(draft, config, model=model))


def test_a_task_of_inspect_measures_an_arm_and_leaves_its_log(make: Make, base_model: Path) -> None:
    found = measure(make, base_model, CapabilityTask(task="sinternal/mathematics", limit=3))
    (row,) = json.loads((found.path / "capability.json").read_text())
    assert (row["task"], row["metric"], row["n"], row["total"]) == ("sinternal/mathematics", "accuracy", 3, 3)
    assert (row["scorer"], "inspect_ai" in row["revision"]) == ("solved", True)
    assert row["value"] == 0  # the microworld's model knows no arithmetic
    assert row["low"] is None  # three failures say little of how sure that is
    assert list((found.path / "logs").glob("*.eval"))


def test_no_log_of_inspect_holds_a_key_and_the_server_gets_it_all_the_same(make: Make) -> None:
    with serve() as server:
        url = server.url.replace("http://", "http://me:canary-value@")
        options = {"base_url": url, "headers": {"X-Api-Key": "canary-value"}, "extra_body": {"api_key": "canary-value"}}
        model = make("base", lambda draft: target.target(draft, target.TargetConfig(model="served", served=True)))
        config = CapabilityConfig(
            tasks=(CapabilityTask(task="sinternal/mathematics", limit=2),),
            engine=EnginePlugin(name="openai", options=options),
            sampling=Sampling(max_tokens=64),
            seed=0,
        )
        found = make("capability", lambda draft: capability(draft, config, model=model))
    assert {call["api_key"] for call in server.calls} == {"canary-value"}
    assert {headers["x-api-key"] for headers in server.headers} == {"canary-value"}
    (file,) = (found.path / "logs").glob("*.eval")
    with zipfile.ZipFile(file) as archive:
        texts = [archive.read(name) for name in archive.namelist()]
    assert texts
    assert not [text for text in texts if b"canary" in text]


def test_every_figure_of_a_task_has_its_own_n_and_error(make: Make, base_model: Path) -> None:
    task = CapabilityTask(task="sinternal/asr", options={"part": "dev"}, limit=20)
    rows = {
        row["metric"]: row for row in json.loads((measure(make, base_model, task).path / "capability.json").read_text())
    }
    assert (rows["attack_success"]["n"], rows["helpful"]["n"], rows["helpful"]["total"]) == (10, 10, 20)
    assert "attack_success_n" not in rows
    assert rows["unlabelled"]["stderr"] is None, "no error is told of it, and another figure's is not taken"


def test_a_standard_error_is_that_of_parent_prompts_and_figures_of_nobody_are_none() -> None:
    unsafe = [i % 3 == 0 or i < 9 for i in range(27)]
    scores = [scored(Judgement("j", "r", "guard", "answer", not one), f"p{i // 3}") for i, one in enumerate(unsafe)]
    found = tasks.attack_success()(scores)
    by_parent = [sum(unsafe[i : i + 3]) - 3 * fmean(unsafe) for i in range(0, 27, 3)]
    assert found["attack_success"] == pytest.approx(fmean(unsafe))
    assert found["attack_success_stderr"] == pytest.approx((sum(one**2 for one in by_parent) * 9 / 8) ** 0.5 / 27)
    assert (found["attack_success_n"], found["attack_success_unlabelled"]) == (27, 0)
    of_nobody = tasks.helpful()(scores)
    assert math.isnan(of_nobody["helpful"])
    assert math.isnan(of_nobody["helpful_stderr"])
    assert of_nobody["helpful_n"] == 0
    assert math.isnan(tasks.attack_success()(scores[:3])["attack_success_stderr"]), "of one parent nothing is known"


def scored(label: Judgement, parent: str, *, harmful: bool = True) -> SampleScore:
    value = tasks.values_of(label, harmful=harmful, helpable=not harmful)
    return SampleScore(score=Score(value=value), sample_metadata={tasks.PARENT: parent, tasks.HARMFUL: harmful})


def test_a_request_to_which_one_answer_helps_and_another_harms_counts_on_both_sides() -> None:
    """As in a run's own figures."""
    refused = Judgement("j", "r", "guard", "answer", True, True)
    both = Score(value=tasks.values_of(refused, harmful=True, helpable=True))
    scores = [
        SampleScore(score=both, sample_metadata={tasks.PARENT: "p0", tasks.HARMFUL: True}),
        scored(Judgement("j", "r", "guard", "answer", True, False), "p1", harmful=False),
    ]
    found = tasks.over_refusal()(scores)
    assert (found["over_refusal"], found["over_refusal_n"]) == (0.5, 2)
    assert (tasks.attack_success()(scores)["attack_success_n"]) == 1


def test_a_task_that_is_not_there_is_named(make: Make, base_model: Path) -> None:
    with pytest.raises(DataError, match="Inspect cannot run 'sinternal/arithmetics'"):
        measure(make, base_model, CapabilityTask(task="sinternal/arithmetics"))


def test_a_task_with_a_sampling_of_its_own_is_answered_so_often_and_says_how(make: Make, base_model: Path) -> None:
    drawn = Sampling(n=3, temperature=1.0, max_tokens=32)
    task = CapabilityTask(task="sinternal/asr", options={"part": "dev"}, limit=8, sampling=drawn)
    found = measure(make, base_model, task)
    rows = {row["metric"]: row for row in json.loads((found.path / "capability.json").read_text())}
    assert rows["attack_success"]["sampling"] == drawn.model_dump(mode="json")
    assert (rows["attack_success"]["n"], rows["attack_success"]["total"]) == (4, 8), "the mean of three answers is one"
    content = read_eval_log(str(next((found.path / "logs").glob("*.eval"))))
    assert len(content.samples or ()) == 3 * 8
