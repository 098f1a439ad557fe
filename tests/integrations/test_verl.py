"""verl needs GPUs; its data, settings and interface do not. record_verl_interface.py says where the names come from."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
import torch
import yaml
from transformers import AutoTokenizer

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError, ModelError, SInternalError
from sinternal.integrations.verl import config, rewards, rows
from sinternal.integrations.verl.config import MISSING, Machine, Model, Training
from sinternal.integrations.verl.export import Source, export
from sinternal.integrations.verl.rewards import Rewarder, RewardSettings, UnrewardedError
from sinternal.layout import ArmRun, Place, RunMap
from sinternal.prompting.think import Tags
from sinternal.records import Example, Judgement, Prompt, Response, Verdict, make_id
from sinternal.redaction import NOT_KEPT
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.training import GrpoSettings, SftSettings
from sinternal.stages import target
from sinternal.store import Draft, Store
from sinternal.study.plan import make_plan
from sinternal.study.task import Task
from sinternal.training.rewards import Kind
from sinternal.training.schedule import Stored, Turn
from sinternal.world.language import REFUSAL
from sinternal.world.oracle import OracleJudge
from tests.chat_models import plain_end, save_model
from tests.commands import in_process
from tests.conftest import judgement_of, plain_prompt, response_to
from tests.integrations.record_verl_interface import keys

INTERFACE = json.loads(Path(__file__).with_name("verl_0_9_1.json").read_text())
SMALL = (
    "seeds=[0]",
    "prompts.train_limit=8",
    "prompts.eval_limit=8",
    "rewards.held_out_limit=4",
    "grpo.steps=3",
    "grpo.prompts=4",
)
GRPO = GrpoSettings.model_validate(
    {
        "steps": 188,
        "prompts": 64,
        "rollouts": {"n": 8, "temperature": 0.7, "top_p": 0.9, "max_tokens": 8192},
        "learning_rate": 3e-5,
        "epsilon": 0.1,
        "epsilon_high": 0.3,
        "minibatches": 4,
        "micro_batch": 8,
        "held_out_every": 20,
    }
)


def arm(model: Model | None = None, gpus: int = 8, speech: TemplateOptions | None = None) -> Training:
    return Training(model or Model("some/model"), Machine(gpus), Path("/data/arm"), "study-arm", 3, speech)


def grpo(settings: GrpoSettings = GRPO, model: Model | None = None) -> dict[str, Any]:
    return config.grpo_config(settings, arm(model, gpus=4), prompt_tokens=2048, watches=True)


def sft(settings: SftSettings, rows: int = 100) -> dict[str, Any]:
    return config.sft_config(settings, arm(), rows=rows)


TUNING = SftSettings(steps=40, batch=32, micro_batch=4, learning_rate=2e-4, max_length=6144)

# settings


def test_what_is_written_is_what_was_written_before() -> None:
    adapted = Model("some/model", "some/adapter", "template")
    thinks = TemplateOptions(chat_template_kwargs={"enable_thinking": True})
    full = GrpoSettings.model_validate({"steps": 1, "method": "full", "beta": 0.01})
    saved = SftSettings.model_validate(
        {"steps": 3, "batch": 2, "learning_rate": 1e-5, "method": "full", "save_steps": 2}
    )
    written = {
        "grpo": grpo(),
        "grpo unwatched": config.grpo_config(full, arm(adapted, 4, thinks), prompt_tokens=2048, watches=False),
        "sft": sft(TUNING),
        "sft full": config.sft_config(saved, arm(adapted, speech=thinks), rows=100),
    }
    golden = Path(__file__).with_name("verl_configs.yaml")
    assert "".join(yaml.safe_dump({name: content}, sort_keys=False) for name, content in written.items()) == (
        golden.read_text()
    )


@pytest.mark.parametrize(
    ("written", "known"), [(grpo(), "ppo_trainer"), (sft(TUNING), "sft_trainer_engine")], ids=["grpo", "sft"]
)
def test_verl_knows_every_setting_that_is_written(written: dict[str, Any], known: str) -> None:
    settings = {name: value for name, value in written.items() if name not in ("hydra", "defaults")}
    named = {key for key in keys(settings) if not key.endswith("apply_chat_template_kwargs")}
    assert named <= set(INTERFACE[known])
    assert written["defaults"] == [known, "_self_"]


def test_verl_knows_every_word_that_is_written() -> None:
    assert grpo()["actor_rollout_ref"]["actor"]["loss_agg_mode"] in INTERFACE["loss_agg_mode"]
    assert grpo()["algorithm"]["adv_estimator"] in INTERFACE["adv_estimator"]
    assert grpo()["actor_rollout_ref"]["actor"]["kl_loss_type"] in INTERFACE["kl_loss_type"]
    assert grpo()["reward"]["reward_manager"]["module"]["path"].startswith(INTERFACE["module prefix"][0])


def test_grpo_is_that_of_the_recipe() -> None:
    written = grpo()
    actor, rollout = written["actor_rollout_ref"]["actor"], written["actor_rollout_ref"]["rollout"]
    assert (written["data"]["train_batch_size"], rollout["n"], written["trainer"]["total_training_steps"]) == (
        64,
        8,
        188,
    )
    assert (rollout["temperature"], rollout["top_p"], written["data"]["max_response_length"]) == (0.7, 0.9, 8192)
    assert (actor["clip_ratio_low"], actor["clip_ratio_high"]) == (0.1, 0.3)
    assert actor["ppo_mini_batch_size"] == 16  # of prompts, as verl counts
    assert actor["optim"]["lr"] == 3e-5
    assert actor["loss_agg_mode"] == "token-mean"
    assert not actor["use_kl_loss"]
    assert written["algorithm"]["use_kl_in_reward"] is False
    assert written["actor_rollout_ref"]["model"]["lora_rank"] == 16
    assert (written["trainer"]["test_freq"], written["trainer"]["n_gpus_per_node"]) == (20, 4)
    assert written["data"]["shuffle"] is False


def test_full_tuning_has_no_adapter_and_a_divergence_has_its_weight() -> None:
    written = grpo(GrpoSettings.model_validate({"steps": 1, "method": "full", "beta": 0.01}))
    assert written["actor_rollout_ref"]["model"]["lora_rank"] == 0
    assert written["actor_rollout_ref"]["actor"]["use_kl_loss"]
    assert written["actor_rollout_ref"]["actor"]["kl_loss_coef"] == 0.01
    assert written["actor_rollout_ref"]["actor"]["use_dynamic_bsz"]
    assert written["trainer"]["test_freq"] == -1


def test_fine_tuning_is_that_of_the_recipe() -> None:
    written = sft(TUNING)
    assert (written["data"]["train_batch_size"], written["data"]["micro_batch_size_per_gpu"]) == (32, 4)
    assert written["optim"]["lr"] == 2e-4
    assert (written["trainer"]["total_training_steps"], written["trainer"]["total_epochs"]) == (40, 14)
    assert written["data"]["max_length"] == 6144


def test_what_verl_has_not_is_said() -> None:
    said = "\n".join(config.grpo_differences(GRPO))
    assert "filter_groups" in said
    assert "written by vLLM" in said
    odd = {"steps": 1, "prompts": 6, "minibatches": 4, "weights": {"harmful": 2}, "zero_spread": "count"}
    said = "\n".join(config.grpo_differences(GrpoSettings.model_validate(odd)))
    assert "does not divide" in said
    assert "grpo.weights" in said
    assert "filter_groups" not in said
    assert "cosine" in "\n".join(config.sft_differences())


# rows


def ask(prompt: Prompt) -> Sequence[tuple[str, str]]:
    return (("system", "be brief"), ("user", prompt.text))


def verify(prompt: Prompt, answer: str) -> Sequence[tuple[str, str]]:
    return (("user", f"{prompt.text} | {answer}"),)


def test_a_row_has_verls_columns_and_all_that_its_reward_needs(tmp_path: Path) -> None:
    harmful, benign = plain_prompt("bad", harmful=True), plain_prompt("good")
    problem = replace(plain_prompt("1 + 1"), meta='{"solution": "2"}')
    turns = [
        Turn(harmful, Kind.HARMFUL),
        Turn(benign, Kind.BENIGN),
        Turn(problem, Kind.MATHEMATICS),
        Turn(harmful, Kind.VERIFICATION, Stored("an answer", Verdict.UNSAFE)),
    ]
    rows.write_reward_rows(tmp_path / "train.parquet", rows.reward_rows(turns, ask, verify, "train"))
    table = pyarrow.parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert set(table[0]) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    assert set(INTERFACE["RLHFDataset columns"]) <= set(table[0])
    assert table[0]["prompt"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "bad"}]
    assert table[3]["prompt"] == [{"role": "user", "content": "bad | an answer"}]
    assert [row["reward_model"] for row in table] == [
        {"style": "model", "ground_truth": "safe"},
        {"style": "model", "ground_truth": "safe and no refusal"},
        {"style": "rule", "ground_truth": "2"},
        {"style": "rule", "ground_truth": "unsafe"},
    ]
    assert [row["extra_info"]["index"] for row in table] == [0, 1, 2, 3]
    assert rows.read_prompt(table[2]["extra_info"]["prompt"]) == problem
    assert table[0]["data_source"] == "sinternal/test"


def test_an_example_is_a_conversation(tmp_path: Path) -> None:
    example = Example("0", "is it safe ?", "well", "Verdict: safe", "safe", "0", "0", system="judge")
    rows.write_conversations(tmp_path / "train.parquet", [rows.conversation(example)])
    (row,) = pyarrow.parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][2]["content"].replace("\n", "") == "<think>well</think>Verdict: safe"


# rewards


@pytest.fixture
def rewarder(base_model: Path) -> Rewarder:
    return Rewarder(RewardSettings(model=str(base_model), judge=JudgePlugin(name="oracle")))


def info(prompt: Prompt, kind: Kind) -> dict[str, str]:
    (row,) = rows.reward_rows([Turn(prompt, kind)], ask, verify, "train")
    return {"kind": row.ability, "prompt": row.prompt}


def test_rewards_are_those_of_our_trainer(rewarder: Rewarder, originals: Sequence[Prompt]) -> None:
    harmful = next(prompt for prompt in originals if prompt.harmful)
    benign = next(prompt for prompt in originals if not prompt.harmful)
    refusal = f"draft : g0 </think> {REFUSAL}"
    assert rewarder.score(refusal, "safe", info(harmful, Kind.HARMFUL)) == 1.0
    assert rewarder.score(refusal, "safe and no refusal", info(benign, Kind.BENIGN)) == 0.0
    assert rewarder.score("draft : g0 g1", "safe", info(harmful, Kind.HARMFUL)) == 0.0  # the thinking never closed
    verdict = "so </think> Verdict: unsafe"
    scored = [rewarder.score(verdict, label, info(harmful, Kind.VERIFICATION)) for label in ("unsafe", "safe")]
    assert scored == [1.0, 0.0]


def test_a_failing_judge_is_no_reward(
    rewarder: Rewarder, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_judge: OracleJudge, items: Iterator[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        for _, response in items:
            yield Judgement(make_id(response.id), response.id, "oracle", "answer", None, error="away")

    monkeypatch.setattr(OracleJudge, "judge", fail)
    harmful = next(prompt for prompt in originals if prompt.harmful)
    with pytest.raises(UnrewardedError, match=r"judge_failed \(away"):
        rewarder.score(f"draft </think> {REFUSAL}", "safe", info(harmful, Kind.HARMFUL))


def test_an_end_that_is_no_special_token_is_not_judged(
    tmp_path: Path, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str | None] = []

    def label(_judge: OracleJudge, items: Iterator[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        for _, response in items:
            judged.append(response.answer)
            yield judgement_of(response, safe=True)

    monkeypatch.setattr(OracleJudge, "judge", label)
    folder = save_model(plain_end(), tmp_path / "model")
    rewarder = Rewarder(RewardSettings(model=str(folder), judge=JudgePlugin(name="oracle")))
    harmful = next(prompt for prompt in originals if prompt.harmful)
    rewarder.score("hello<|im_end|>", "safe", info(harmful, Kind.HARMFUL))
    assert judged == ["hello"]


def test_a_thinking_that_ends_with_a_special_token_is_refused(base_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    rewards.check_spelling(tokenizer, Tags("<think>", "</think>"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    with pytest.raises(ModelError, match="no thinking would ever close"):
        rewards.check_spelling(tokenizer, Tags("<think>", "</think>"))


@pytest.mark.parametrize(("ids", "cut"), [([5, 6, 7], True), ([5, 6, 2], False), ([5, 6], False), ([5, 6, 7, 8], True)])
def test_a_rollout_is_cut_if_it_fills_its_limit_without_an_end(ids: list[int], cut: bool) -> None:
    assert rewards.is_cut(ids, 3, 2) is cut


def test_the_manager_leaves_out_what_ran_into_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = import_manager(monkeypatch)
    settings = SimpleNamespace(data=SimpleNamespace(max_response_length=4))
    rewarding = manager.MaskTruncated(settings, SimpleNamespace(eos_token_id=2), None)

    def data(tokens: list[int]) -> Any:
        filled = torch.tensor([tokens + [0] * (4 - len(tokens))])
        mask = torch.tensor([[1, 1] + [1] * len(tokens) + [0] * (4 - len(tokens))])
        return Rows(SimpleNamespace(batch={"responses": filled, "attention_mask": mask}))

    assert asyncio.run(rewarding.run_single(data([5, 2]))) == {"reward_score": 1.0}
    with pytest.raises(UnrewardedError, match="limit of 4 tokens"):
        asyncio.run(rewarding.run_single(data([5, 6, 7, 8])))


class Rows:
    """As much of verl's DataProto as the manager uses."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __getitem__(self, _which: slice) -> Any:
        return self.of


def import_manager(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Our manager, beside a stand-in for verl's whose method has the recorded arguments."""

    class NaiveRewardManager:
        def __init__(self, config: Any, tokenizer: Any, compute_score: Any) -> None:
            self.config, self.tokenizer, self.compute_score = config, tokenizer, compute_score

        async def run_single(self, data: Any) -> dict[str, Any]:
            return {"reward_score": 1.0}

    name = "verl.experimental.reward_loop.reward_manager.naive"
    for end in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    sys.modules[name].NaiveRewardManager = NaiveRewardManager  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "sinternal.integrations.verl.manager", raising=False)
    manager = importlib.import_module("sinternal.integrations.verl.manager")
    arguments = list(inspect.signature(manager.MaskTruncated.run_single).parameters)[1:]
    assert arguments == INTERFACE["NaiveRewardManager.run_single"]
    assert INTERFACE["failed sessions leave a group"]
    return manager


# export


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged recipe, exported before any run of it."""
    folder = tmp_path_factory.mktemp("verl")
    overrides = [part for override in SMALL for part in ("--set", override)]
    done = in_process("export", "verl", "microworld-rl", "--out", "out", "--store", "store", *overrides, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "python -m verl.trainer.main_ppo --config-path" in done.stdout
    return folder


def test_a_recipe_is_exported_before_it_is_run(exported: Path) -> None:
    folder = exported / "out/base+grpo"
    written = yaml.safe_load((folder / "config.yaml").read_text())
    table = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
    assert len(table) == 3 * 4  # steps and prompts of each
    assert {row["extra_info"]["kind"] for row in table} == {"harmful", "benign"}
    assert Path(written["data"]["train_files"]) == (folder / "train.parquet").resolve()
    assert Path(written["data"]["val_files"]).is_file()
    assert (Path(written["actor_rollout_ref"]["model"]["path"]) / "config.json").is_file()
    assert written["trainer"]["total_training_steps"] == 3


def test_no_key_of_a_judge_is_exported_and_the_user_is_told(tmp_path: Path) -> None:
    options = {"base_url": "http://me:canary@localhost:1/v1", "headers": {"X-Api-Key": "canary", "X-Key": "$HOME"}}
    engine = {"name": "openai", "model": "guard", "options": {**options, "extra_body": {"api_key": "canary"}}}
    judge = f"rewards.judge={json.dumps({'name': 'qwen3guard', 'options': {'engine': engine}})}"
    overrides = [part for override in (*SMALL, judge) for part in ("--set", override)]
    done = in_process("export", "verl", "microworld-rl", "--arm", "base+grpo", "--out", "out", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: keys in the options of judges are not exported" in done.stdout
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert not [file for file in written if b"canary" in file.read_bytes()]
    settings = json.loads((tmp_path / "out/base+grpo/rewards.json").read_text())
    assert settings["judge"]["options"]["engine"]["options"]["headers"] == {"X-Api-Key": NOT_KEPT, "X-Key": "$HOME"}


def test_a_start_that_is_not_made_yet_has_to_be_named(exported: Path) -> None:
    written = yaml.safe_load((exported / "out/sinternal+grpo/config.yaml").read_text())
    assert written["actor_rollout_ref"]["model"]["path"] == MISSING
    assert "name it in place of ???" in (exported / "out/README.md").read_text()


def test_what_cannot_be_exported_is_said_with_its_reason(exported: Path) -> None:
    page = (exported / "out/README.md").read_text()
    assert "- self-reward: its rewards are the policy's own verdicts" in page
    assert "- verify-rl: 'contrast, seed 0' is not in " in page
    assert "- sinternal: 'examples sinternal, seed 0' is not in " in page
    assert not (exported / "out/sinternal").exists()


def test_the_reward_function_takes_what_verl_gives(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported / "out/base+grpo"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "reward", raising=False)
    reward = importlib.import_module("reward")
    row = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()[0]
    given = {
        "data_source": row["data_source"],
        "solution_str": f"draft : g0 </think> {REFUSAL}",
        "ground_truth": row["reward_model"]["ground_truth"],
        "extra_info": {**row["extra_info"], "num_turns": 2},
    }
    assert sorted(given) == INTERFACE["compute_score"]
    assert reward.compute_score(**given) in (0.0, 1.0)
    monkeypatch.delitem(sys.modules, "reward")


def test_training_sets_come_from_the_run(tmp_path: Path) -> None:
    source = Source.open("microworld-rl", SMALL, tmp_path / "store")
    trained = arms_of(source)["sinternal"].training
    assert trained is not None
    assert trained.examples is not None
    examples = [Example(str(n), "g0 ?", "draft", "norm", "safe", "0", "0") for n in range(64)]
    put(source.store, trained.examples, examples=examples)
    (arm,) = export(source, tmp_path / "out", arms=["sinternal"], machine=Machine(gpus=2))
    written = yaml.safe_load((arm.folder / "config.yaml").read_text())
    assert arm.rows == 64
    assert written["optim"]["lr"] == source.recipe.sft.learning_rate
    assert "--nproc_per_node=2 -m verl.trainer.sft_trainer" in arm.command
    assert len(pyarrow.parquet.read_table(arm.folder / "train.parquet")) == 64


def test_turns_are_written_as_the_model_writes_them_and_starts_are_named(tmp_path: Path, base_model: Path) -> None:
    source = Source.open("microworld-rl", [*SMALL, "sft.method=lora", "grpo.method=lora"], tmp_path / "store")
    arms = arms_of(source)
    trained = arms["sinternal"].training
    assert trained is not None
    assert trained.examples is not None
    assert trained.sft is not None
    base = trained.sft.inputs["model"]
    make(source.store, base, lambda draft: target.target(draft, base.config))  # type: ignore[arg-type]
    put(source.store, trained.examples, examples=[Example("0", "g0 ?", "draft", "norm", "safe", "0", "0")])

    def adapter(draft: Draft) -> None:
        (draft.path / "model").mkdir()
        (draft.path / "model/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base_model)}))

    make(source.store, trained.sft, adapter)
    exported = {arm.arm: arm for arm in export(source, tmp_path / "out", arms=["sinternal", "sinternal+grpo"])}
    (row,) = pyarrow.parquet.read_table(exported["sinternal"].folder / "train.parquet").to_pylist()
    assert row["messages"][-1]["content"].split() == ["<think>", "draft", "</think>", "norm"]
    assert not any("could not be looked at" in note for note in exported["sinternal"].notes)
    written = yaml.safe_load((exported["sinternal+grpo"].folder / "config.yaml").read_text())
    assert Path(written["actor_rollout_ref"]["model"]["path"]).resolve() == base_model.resolve()
    assert written["actor_rollout_ref"]["model"]["lora_adapter_path"].endswith("/model")


def test_stored_answers_are_asked_about_with_their_labels(tmp_path: Path) -> None:
    source = Source.open("microworld-rl", SMALL, tmp_path / "store")
    export(source, tmp_path / "first", arms=["base+grpo"])  # reads the prompts
    plan = make_plan(source.recipe)
    contrast = next(task for task in plan.tasks if task.stage.name == "contrast")
    prompts = next(task for task in plan.tasks if task.label.startswith("training prompts"))
    asked = source.store.find("prompts", prompts.key)
    assert asked is not None
    pool = asked.rows(Prompt)
    answers = [response_to(row, f"answer {n}", n) for row in pool for n in range(2)]
    labels = [judgement_of(row, row.sample == 0) for row in answers]
    put(source.store, contrast, responses=answers, judgements=labels)
    (arm,) = export(source, tmp_path / "out", arms=["verify-rl"])
    table = pyarrow.parquet.read_table(arm.folder / "train.parquet").to_pylist()
    truths = [row["reward_model"]["ground_truth"] for row in table]
    assert truths.count("unsafe") == truths.count("safe") == len(table) / 2
    assert all("answer" in row["prompt"][0]["content"] for row in table)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arm", "nobody"], "no arm of this name is trained; there are: "),
        (["--arm", "self-reward"], "cannot ask the policy"),
        (["--arm", "sinternal"], "is not in "),
        (["--seed", "9"], "has no seed 9"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    overrides = [part for override in SMALL for part in ("--set", override)]
    done = in_process("export", "verl", "microworld-rl", "--out", "x", *overrides, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_variant_is_exported_by_its_name_and_the_first_is_told_where_none_is_named(tmp_path: Path) -> None:
    overrides = [*SMALL, "variants={short: {grpo: {steps: 2}}, long: {grpo: {steps: 4}}}"]
    settings = [part for override in overrides for part in ("--set", override)]

    def exported(out: str, *named: str) -> CompletedProcess[str]:
        wanted = ("--out", out, "--arm", "base+grpo", *named)
        return in_process("export", "verl", "microworld-rl", *wanted, *settings, cwd=tmp_path)

    assert "this is the first variant; --variant names another: short, long" in exported("a").stdout
    assert "first variant" not in exported("b", "--variant", "long").stdout
    rows = {out: pyarrow.parquet.read_table(tmp_path / out / "base+grpo/train.parquet").num_rows for out in "ab"}
    assert rows["b"] == 2 * rows["a"] > 0  # as many again for twice the steps
    assert "has no such variant; it has: short, long" in exported("c", "--variant", "odd").stderr


def test_a_mixture_with_fresh_verifications_is_refused(tmp_path: Path) -> None:
    mixed = ("grpo.mixture.verification=0.2", "arms=[{name: base+grpo, start: base, train_on: rewards}]")
    source = Source.open("microworld-rl", [*SMALL, *mixed], tmp_path / "store")
    with pytest.raises(DataError, match=r"grpo\.mixture\.verification"):
        export(source, tmp_path / "out", arms=["base+grpo"])


def test_a_run_has_its_recipe_and_takes_no_overrides(tmp_path: Path) -> None:
    source = Source.open("microworld-rl", SMALL)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(source.recipe.model_dump(mode="json")))
    assert Source.open(str(tmp_path)).recipe == source.recipe
    assert Source.open(str(tmp_path)).store.root == tmp_path / "artifacts"
    with pytest.raises(SInternalError, match="leave --set out"):
        Source.open(str(tmp_path), ["seeds=[1]"])


def arms_of(source: Source) -> Mapping[str, ArmRun[Task]]:
    """The arms of a recipe's first variant and seed."""
    variant = next(iter(source.recipe.variants), "default")
    return RunMap[Task].from_flat(make_plan(source.recipe).report.inputs)[Place(variant, 0)].arms


def put(store: Store, task: Task, **tables: Sequence[Any]) -> None:
    """Make an artifact of a plan, with these tables."""

    def build(draft: Draft) -> None:
        for name, members in tables.items():
            draft.write(list(members), type(members[0]), name)

    make(store, task, build)


def make(store: Store, task: Task, build: Callable[[Draft], None]) -> None:
    """Make an artifact of a plan."""
    store.make(
        task.stage.name,
        task.key,
        build,
        stage_version=task.stage.version,
        config={},
        inputs={},
        progress=lambda _done, _total: None,
    )
