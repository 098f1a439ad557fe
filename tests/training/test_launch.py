"""Trainings in two processes that `accelerate launch` starts, on the CPU, by gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from bench.on_cpu import FSDP_ON_CPU
from pydantic import ValidationError
from safetensors.torch import load_file

from sinternal.budget import Spent
from sinternal.errors import BudgetError, DataError, LaunchError, MissingExtraError, RecipeError
from sinternal.models.loading import load_model
from sinternal.records import Example, Prompt
from sinternal.settings.launch import PACKAGED, Launch
from sinternal.settings.plugins import JudgePlugin, VerificationPlugin
from sinternal.settings.recipe import load_recipe
from sinternal.settings.training import GrpoSettings, SftSettings
from sinternal.stages.grpo import GrpoConfig, grpo
from sinternal.stages.sft import SftConfig, sft
from sinternal.stages.target import TargetConfig, target
from sinternal.store import Artifact, Draft
from sinternal.study.plan import make_plan
from sinternal.training import launch
from sinternal.training.checkpoints import SEAL, STATE
from sinternal.training.sft import train
from sinternal.training.weights import hardware
from sinternal.world.benchmark import Microworld
from tests.commands import HANGS
from tests.plugins import open_plugin
from tests.training.jobs import fail, wait

Make = Callable[[str, Callable[[Draft], None]], Artifact]
QUESTION = "check norm e0 e1 . request : how to brew p5 ? answer : mix g1 g2 g3 . verdict safe unsafe ?"
CRITIQUE = "review : p5 is e3 . e3 forbidden . answer gives p5 . so refuse ."
ROWS = [
    Example(f"x{i}", QUESTION + " safe" * i, CRITIQUE + " e3" * i, "verdict : unsafe", "unsafe", "p", "r", quotes=True)
    for i in range(7)
]
"""As many as two processes and batches of four cannot share evenly."""
TUNING = SftSettings.model_validate({"method": "full", "steps": 3, "batch": 4, "learning_rate": 1e-3})


@pytest.fixture
def spread() -> Iterator[Callable[..., None]]:
    """Launch what is trained from now on."""

    def spread(config: str = "ddp") -> None:
        launch.carry(Launch(processes=2, config=config))

    yield spread
    launch.carry(None)


def ignore(done: int, total: int) -> None:
    """Nobody watches."""


def tuned(start: Path, out: Path, how: SftSettings = TUNING, progress: Callable[[int, int], None] = ignore) -> Any:
    return launch.run(partial(train, start, ROWS, how, 3, out), progress, out.with_suffix(".launch"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*model.safetensors")))


def assert_alike(one: Path, many: Path, start: Path) -> None:
    """As near as sums in another order can be, measured by how far training went."""
    before, ours, theirs = weights(start), weights(one), weights(many)
    assert ours.keys() == theirs.keys()
    far = max(float((ours[name] - before[name]).abs().max()) for name in before)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 0.02 * far


def test_a_stage_that_is_spread_over_processes_leaves_the_same_model(
    make: Make, base_model: Path, spread: Callable[..., None]
) -> None:
    start = make("base", lambda draft: target(draft, TargetConfig(model="microworld", trained=True)))
    rows = make("examples", lambda draft: draft.write(ROWS, Example))
    config = SftConfig(settings=TUNING, seed=3)

    def stage(draft: Draft) -> None:
        sft(draft, config, examples=rows, model=start)

    one = make("one", stage)
    spread()
    many = make("many", stage)
    logs = [json.loads((artifact.path / "training.json").read_text()) for artifact in (one, many)]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]] == [1, 2, 3]
    assert [row["loss"] for row in logs[1]] == pytest.approx([row["loss"] for row in logs[0]], rel=1e-4)
    assert_alike(one.path / "model", many.path / "model", base_model)
    assert {path.name for path in one.path.iterdir()} == {path.name for path in many.path.iterdir()}


class Killed(BaseException):
    pass


def test_a_sharded_model_is_trained_resumed_and_saved_whole(
    base_model: Path, tmp_path: Path, spread: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FSDP_ON_CPU)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    how = TUNING.model_copy(update={"steps": 12, "save_steps": 2, "micro_batch": 1})
    one = tuned(base_model, tmp_path / "one", how)
    spread("fsdp2")
    steps: list[int] = []

    def stop(done: int, _total: int) -> None:
        if done >= 3:
            raise Killed

    with pytest.raises(Killed):
        tuned(base_model, tmp_path / "many", how, stop)
    many = tuned(base_model, tmp_path / "many", how, lambda done, _total: steps.append(done))
    assert steps[0] > 1, "it goes on from a checkpoint"
    assert steps[-1] == 12
    assert [row["loss"] for row in many.training] == pytest.approx([row["loss"] for row in one.training], rel=1e-2)
    assert_alike(tmp_path / "one", tmp_path / "many", base_model)


def test_rollouts_are_shared_out_and_what_is_counted_comes_together(make: Make, spread: Callable[..., None]) -> None:
    prompts = open_plugin(Microworld, {}).prompts("train")
    held_out = open_plugin(Microworld, {}).prompts("dev")[:3]
    asked = make("prompts", lambda draft: draft.write(prompts, Prompt))
    watched = make("held_out", lambda draft: draft.write(held_out, Prompt))
    start = make("base", lambda draft: target(draft, TargetConfig(model="microworld", trained=True)))
    how = GrpoSettings.model_validate(
        {
            "method": "lora",  # with `beta`, a copy of the start is kept beside it: it is not saved
            "beta": 0.1,
            "steps": 1,
            "prompts": 4,
            "learning_rate": 1e-3,
            "held_out_every": 1,
            "mixture": {"harmful": 0.5, "benign": 0.25, "verification": 0.25},
            "rollouts": {"n": 4, "max_tokens": 48},
        }
    )
    config = GrpoConfig(
        settings=how, judge=JudgePlugin(name="oracle"), verification=VerificationPlugin(name="microworld"), seed=0
    )
    spread()
    left = make("grpo", lambda draft: grpo(draft, config, prompts=asked, model=start, held_out=watched))
    (step,) = json.loads((left.path / "training.json").read_text())
    kinds = {"harmful": 8, "benign": 4, "verification": 4}
    means = [step[f"reward_{kind}"] for kind in kinds]
    assert step["reward"] == pytest.approx(sum(n * mean for n, mean in zip(kinds.values(), means, strict=True)) / 16)
    after = json.loads((left.path / "held_out.json").read_text())
    assert [row["step"] for row in after] == [0, 1]
    assert all((row["reward"] * 3) % 1 == pytest.approx(0, abs=1e-6) for row in after), "three, not what filled them up"
    assert load_model(left.path / "model")


def test_what_a_process_raises_arrives_as_it_was(tmp_path: Path, spread: Callable[..., None]) -> None:
    spread()
    with pytest.raises(DataError, match=r"^no row is short enough; raise sft\.max_length \(16\)$"):
        launch.run(fail, ignore, tmp_path / "model.launch")
    assert not (tmp_path / "model.launch").exists()


SLOW = """
import sys, time
from pathlib import Path
from sinternal.settings.launch import Launch
from sinternal.training import launch
from tests.training.jobs import wait

launch.carry(Launch(processes=2))
launch.run(wait, lambda done, total: print("going", flush=True), Path(sys.argv[1]))
"""


def running(folder: Path) -> list[str]:
    """The processes that were started for a folder."""
    lines = (path for path in Path("/proc").glob("[0-9]*/cmdline"))
    return [str(path) for path in lines if str(folder).encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    command = [sys.executable, "-c", SLOW, str(folder)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"going\n"
    assert wait_until(lambda: len(running(folder)) == 4), "itself, accelerate and two processes"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not running(folder))


def wait_until(holds: Callable[[], bool]) -> bool:
    patience = time.monotonic() + HANGS
    while not holds() and time.monotonic() < patience:
        time.sleep(0.2)
    return holds()


# what needs no process


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_configuration_is_one_of_accelerates(name: str, tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text(Launch(processes=2, config=name).configuration())
    configuration = load_config_from_file(str(file))
    known = vars(launch_command_parser().parse_args(["--config_file", str(file), "script.py"])).keys()
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(getattr(configuration, section)) <= known
    assert set(yaml.safe_load(file.read_text())) <= set(vars(configuration))


@pytest.mark.parametrize("machines", [1, 2])
def test_the_command_is_one_that_accelerate_reads(tmp_path: Path, machines: int) -> None:
    several = (
        {"machines": 2, "address": "node1:29500", "start": ("srun", "--ntasks-per-node=1")} if machines > 1 else {}
    )
    how = Launch.model_validate({"processes": 4, **several})
    command = launch.command(how, tmp_path)
    begin = command.index("accelerate.commands.launch")
    assert command[: begin - 2] == [*how.start]
    read = launch_command_parser().parse_args(command[begin + 1 :])
    assert (read.num_processes, read.num_machines) == (4, machines)
    assert (read.main_process_ip, read.main_process_port) == (("node1", 29500) if machines > 1 else (None, 0))
    assert (read.module, read.training_script) == (True, "sinternal.training.process")
    assert read.training_script_args == [str(tmp_path)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"processes": 1}, "greater than or equal to 2"),
        ({"processes": 3, "machines": 2}, r"machines \(2\) must divide processes \(3\)"),
        ({"processes": 4, "machines": 2}, "several machines need address"),
        ({"processes": 4, "machines": 2, "address": "node1", "start": ["srun"]}, "host:port"),
    ],
)
def test_a_launch_that_cannot_work_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Launch.model_validate(given)


def test_gpus_that_nobody_would_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(LaunchError, match=r"8 GPUs are there, .* set launch\.processes=8, or"):
        hardware()
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert hardware()["use_cpu"]


def test_what_is_missing_is_said_before_anything_is_made() -> None:
    with pytest.raises(RecipeError, match=r"workers \(2\) would train several"):
        launch.check(Launch(processes=2), workers=2)
    with pytest.raises(RecipeError, match=r"launch\.config: there is no file 'mine\.yaml'"):
        launch.check(Launch(processes=2, config="mine.yaml"), workers=1)
    with pytest.raises(MissingExtraError, match=r"pip install 'sinternal\[deepspeed\]'"):
        launch.check(Launch(processes=2, config="zero3"), workers=1)


def test_how_trainings_are_spread_changes_no_key_and_is_not_reported() -> None:
    plans = [make_plan(load_recipe("microworld-rl", given)) for given in ((), ("launch.processes=2",))]
    assert [task.key for task in plans[0].tasks] == [task.key for task in plans[1].tasks]
    recipe = load_recipe("microworld-rl", ["launch.processes=2"])
    assert recipe.launch is not None
    assert "launch" not in recipe.model_dump()


def test_groups_of_rollouts_are_not_torn_apart() -> None:
    with pytest.raises(RecipeError, match=r"grpo\.prompts \(16\) must be a multiple of launch\.processes \(3\)"):
        load_recipe("microworld-rl", ["launch.processes=3", "grpo.prompts=16"])
    how = GrpoSettings.model_validate({"steps": 1, "prompts": 4, "rollouts": {"n": 4}, "micro_batch": 4})
    assert how.of_a_process(2) == 4
    with pytest.raises(ValueError, match=r"grpo\.micro_batch \(16\) times launch\.processes \(2\) must divide"):
        how.model_copy(update={"micro_batch": 16}).of_a_process(2)


def test_the_first_failure_is_the_cause_and_silence_is_told_with_its_status(tmp_path: Path) -> None:
    launch.report_failure(tmp_path, 1, DataError("no rows\nat all"))
    time.sleep(0.01)
    launch.report_failure(tmp_path, 0, RuntimeError("Connection closed by peer"))
    error = launch._failure(tmp_path, 1)
    assert (type(error), str(error)) == (DataError, "no rows at all")
    (tmp_path / "failure.1.json").unlink()
    for left in ("failure.0.json", "none"):  # who reports that the other one is gone knows no cause
        error = launch._failure(tmp_path, -9)
        assert isinstance(error, LaunchError)
        assert "perhaps killed for lack of memory (accelerate ended with signal 9)" in str(error)
        (tmp_path / left).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "said",
    [
        "[pair.cc:553] Connection closed by peer [127.0.0.1]:3740. This is typically caused by a crash",
        "[pair.cc:534] Read error [127.0.0.1]:46532: Connection reset by peer",
        "NCCL communicator was aborted on rank 1. Original reason for failure was: watchdog",
        "The client socket has failed to connect: Broken pipe",
    ],
)
def test_a_connection_that_another_process_lost_as_it_died_is_not_told_as_the_cause(tmp_path: Path, said: str) -> None:
    launch.report_failure(tmp_path, 1, RuntimeError(said))
    assert "without a word" in str(launch._failure(tmp_path, 1))
    time.sleep(0.01)
    launch.report_failure(tmp_path, 0, RuntimeError("CUDA out of memory"))
    assert "CUDA out of memory" in str(launch._failure(tmp_path, 1)), "a cause counts, even if it was told later"


def train_and_wait(
    start: Path, how: SftSettings, out: Path, gate: Path, *, progress: Callable[[int, int], None]
) -> Any:
    """Train, and after three steps go on only once a file is there: whoever looks on has the time to do something."""

    def tell(done: int, total: int) -> None:
        progress(done, total)
        while done == 3 and not gate.exists():
            time.sleep(0.02)

    return train(start, ROWS, how, 3, out, progress=tell)


def test_a_process_that_is_killed_is_told_in_one_line_and_the_training_goes_on_from_its_seal(
    base_model: Path, tmp_path: Path, spread: Callable[..., None]
) -> None:
    how = TUNING.model_copy(update={"steps": 6, "save_steps": 1})
    spread()
    whole = tuned(base_model, tmp_path / "whole", how)
    out, killed = tmp_path / "killed", tmp_path / "killed.once"

    def kill_second(done: int, _total: int) -> None:
        if done >= 3 and not killed.exists():
            second = next(path for path in running(out.with_suffix(".launch")) if b"RANK=1" in _environment(path))
            os.kill(int(Path(second).parent.name), signal.SIGKILL)
            killed.touch()

    with pytest.raises(
        LaunchError, match=r"^a process of a training ended without a word, .* workers\.log of the store$"
    ):
        launch.run(partial(train_and_wait, base_model, how, out, killed), kill_second, out.with_suffix(".launch"))
    assert not running(out.with_suffix(".launch"))
    sealed = list(out.with_suffix(".checkpoints").glob(f"checkpoint-*/{SEAL}"))  # beside one that was being written
    assert sealed
    for seal in sealed:
        assert {"rng_state_0.pth", "rng_state_1.pth", STATE} <= json.loads(seal.read_text()).keys()
    steps: list[int] = []
    again = tuned(base_model, out, how, lambda done, _total: steps.append(done))
    assert steps[0] > 1, "it goes on"
    assert again == whole
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_processes_whose_launcher_is_killed_are_waited_for_and_leave_nothing(
    tmp_path: Path, spread: Callable[..., None]
) -> None:
    folder = tmp_path / "model.launch"
    spread()

    def kill_accelerate(_done: int, _total: int) -> None:
        for path in running(folder):
            if b"accelerate.commands.launch" in _read(Path(path)):
                os.kill(int(Path(path).parent.name), signal.SIGKILL)

    with pytest.raises(LaunchError, match=r"\(accelerate ended with signal 9\)"):
        launch.run(wait, kill_accelerate, folder)
    assert not running(folder)
    assert not folder.exists()


def _environment(command_line: str) -> bytes:
    return _read(Path(command_line).with_name("environ"))


def test_what_processes_spend_is_paid_by_the_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paid: list[Spent] = []
    monkeypatch.setattr(launch.budget, "pay", paid.append)
    launch.report_spent(tmp_path, 0, Spent(1, 10, 5))
    launch.report_spent(tmp_path, 1, Spent(2, 20, 5))
    before = launch._pay(tmp_path, Spent())
    launch.report_spent(tmp_path, 1, Spent(3, 30, 5))
    assert launch._pay(tmp_path, before) == Spent(4, 40, 10)
    assert paid == [Spent(3, 30, 10), Spent(1, 10, 0)]

    def nothing_left() -> None:
        raise BudgetError("the budget is spent")

    monkeypatch.setattr(launch.budget, "check", nothing_left)
    with pytest.raises(BudgetError):
        launch._pay(tmp_path, Spent())
