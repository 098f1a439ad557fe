from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from sinternal.errors import ModelError, RecipeError
from sinternal.layout import RunMap
from sinternal.prompting.specification import Packaged, load_spec
from sinternal.settings.files import packaged_recipes
from sinternal.settings.recipe import Recipe, add_judge, load_recipe
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import GrpoSettings, rows_seen
from sinternal.study.cost import cautions
from sinternal.study.plan import Task, make_plan
from tests.conftest import plain_prompt


@pytest.mark.parametrize("name", list(packaged_recipes()))
def test_every_packaged_recipe_loads_and_can_be_planned(name: str) -> None:
    plan = make_plan(load_recipe(name))
    assert plan.report.stage.name == "report"
    seen: set[str] = set()
    for task in plan.tasks:
        assert {parent.key for parent in task.inputs.values()} <= seen
        seen.add(task.key)


def plan_of(name: str, *overrides: str) -> dict[str, Task]:
    """The tasks of a recipe's first seed, by label without its end."""
    recipe = load_recipe(name, [*overrides, "seeds=[0]"])
    return {task.label.removesuffix(", seed 0"): task for task in make_plan(recipe).tasks}


@pytest.mark.parametrize("name", list(packaged_recipes()))
def test_no_two_arms_of_a_packaged_recipe_are_the_same_model(name: str) -> None:
    recipe = load_recipe(name)
    run = RunMap[Task].from_flat(make_plan(recipe).report.inputs)
    assert len(run) == len(recipe.seeds) * max(1, len(recipe.variants))
    for place, seed_run in run.items():
        arms = recipe.variant(place.variant).arms
        assert list(seed_run.arms) == [arm.name for arm in arms]
        assert len({arm.responses.key for arm in seed_run.arms.values()}) == len(arms)


REAL = "r1-distill-qwen-7b-arms"


def question(critique: Task, *, with_spec: bool = True) -> str:
    """What an arm is asked in training."""
    asked = critique.config.verification.open()
    return str(
        asked.ask(
            plain_prompt("draw a cat"), "Here.", with_spec=with_spec and critique.config.specification == "quoted"
        )
    )


def test_each_arm_of_the_comparison_differs_from_the_method_in_what_its_name_says() -> None:
    plan = plan_of(REAL)
    own = plan["critique sinternal"]
    safety, writing = (load_spec(None, packaged).sections for packaged in Packaged)
    assert all(section.text in question(own) for section in safety)
    swapped = question(plan["critique swapped-spec"])
    assert all(section.text in swapped for section in writing)
    assert not any(section.title in swapped or section.text in swapped for section in safety)
    assert 0.7 < len(swapped) / len(question(own)) < 1.3, "about as long"
    nothing = question(plan["critique no-spec"])
    assert not any(section.text in nothing for section in (*safety, *writing))
    assert plan["examples verdict-only"].config.target == "verdict"
    assert plan["examples critique-only"].config.target == "critique"
    assert plan["examples half-data"].config.share == 0.5
    assert plan["examples half-data"].inputs["verifications"].key == own.key
    models = {
        "critique other-answers": "Qwen/Qwen3-8B",
        "critique sinternal": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    }
    for name, wanted in models.items():
        (answers,) = (one for one in inputs_of(plan[name]) if one.stage.name == "contrast")
        assert {one.config.model for one in inputs_of(answers) if one.stage.name == "target"} == {wanted}
    assert plan["examples thinksafe"].inputs["responses"].key == own.inputs["pairs"].key
    assert {"verifications", "demonstrations"} <= plan["examples answer-then-check"].inputs.keys()
    for arm, kind in (("refusal", "refusal"), ("deliberative", "deliberative")):
        assert plan[f"examples {arm}"].inputs["responses"].config.kind == kind
        assert plan[f"examples {arm}"].inputs["judgements"].config.name == "qwen3guard", (
            "demonstrations are judged, too"
        )


def test_star_1_is_trained_as_its_authors_train_it_on_its_own_data() -> None:
    plan = plan_of(REAL)
    drawn = plan["examples star-1"]
    assert drawn.config.size is None
    assert drawn.inputs["responses"].stage.name == "dataset"
    assert [source.benchmark for source in drawn.inputs["prompts"].config.sources] == ["star-1"]
    assert "evaluation" in drawn.inputs["prompts"].inputs, "what overlaps with the evaluation is left out"
    settings = plan["sft star-1"].config.settings
    assert (settings.method, settings.learning_rate, settings.batch) == ("full", 1e-5, 128)
    assert rows_seen(1000, settings.batch, settings.steps) == 5 * 1000
    assert not any(task.stage.name in ("demonstrate", "critique") for task in inputs_of(drawn))


def inputs_of(task: Task) -> list[Task]:
    """Everything that a task is made from."""
    return [one for parent in task.inputs.values() for one in (parent, *inputs_of(parent))]


@pytest.mark.parametrize("name", [name for name in packaged_recipes() if name.startswith(("r1-", "qwen3"))])
def test_full_size_recipes_measure_as_the_paper_does_by_a_judge_that_did_not_reward(name: str) -> None:
    recipe = load_recipe(name)
    assert len(recipe.seeds) >= 3
    assert recipe.evaluation.sampling == Sampling(max_tokens=8000), "greedy, one answer, top_p 1, no penalty"
    assert recipe.evaluation.stress is not None
    assert [(one.n, one.temperature) for one in recipe.evaluation.stress.sampling] == [(4, 0.6)]
    aime = next(one for one in recipe.capability if one.options["benchmark"] == "aime-2024")
    assert aime.sampling is not None
    assert aime.sampling.n == 16
    assert [judge.name for judge in recipe.judges] == ["llama-guard", "wildguard", "safety-thinking"]
    assert recipe.labeller.options["engine"]["model"] == "Qwen/Qwen3Guard-Gen-8B"
    plan = make_plan(recipe)
    assert plan.notes == ()
    trained = [task for task in plan.tasks if task.stage.name in ("contrast", "grpo", "examples")]
    labels = {one.config.name for task in trained for one in inputs_of(task) if one.stage.name == "judge"}
    assert labels == {"qwen3guard"}, "no label of a judge that decides is learned from"
    if recipe.grpo is not None:
        mixture = recipe.grpo.mixture
        assert (mixture.harmful, mixture.benign, mixture.mathematics) == (0.25, 0.25, 0.5)
        assert (recipe.grpo.rollouts.temperature, recipe.grpo.rollouts.top_p) == (0.7, 1.0)
        assert [source.benchmark for source in recipe.rewards.mathematics] == ["dapo-math-17k"]


def test_a_judge_that_labels_training_and_decides_is_told_by_its_model_and_not_by_its_name() -> None:
    assert make_plan(load_recipe("quickstart")).notes == (), "the oracle is a rule, and makes no mistakes to learn"
    engine = "engine: {name: openai, model: MODEL, options: {base_url: 'http://x/v1'}}"

    def notes(name: str, model: str) -> tuple[str, ...]:
        first = f"judges=[{{name: llama-guard, options: {{{engine.replace('MODEL', 'a/guard')}}}}}]"
        other = f"rewards.judge={{name: {name}, options: {{{engine.replace('MODEL', model)}}}}}"
        arms = "arms=[{name: base}, {name: sinternal, train_on: verification}]"
        return make_plan(load_recipe("quickstart", [first, other, arms])).notes

    assert notes("qwen3guard", "b/guard") == ()
    assert "judge a/guard labels" in notes("qwen3guard", "a/guard")[0]
    assert make_plan(load_recipe("quickstart", ["arms=[{name: base}]"])).notes == (), "nothing is trained"


def test_demonstrations_need_a_judge_that_tells_refusals() -> None:
    engine = "{name: openai, model: m, options: {base_url: 'http://x/v1'}}"
    guard = f"rewards.judge={{name: llama-guard, options: {{engine: {engine}}}}}"
    with pytest.raises(
        RecipeError, match=r"'llama-guard' does not label refusals, .* for arm 'deliberative'; name another"
    ):
        make_plan(load_recipe("quickstart", [guard]))
    helper = f"rewards.refusals={{name: refusal, options: {{engine: {engine}}}}}"
    drawn = plan_of("quickstart", guard, helper)["examples deliberative"]
    assert drawn.inputs["refusals"].config.name == "refusal"


def test_equal_loss_tokens_hold_every_arm_to_the_method_and_scale_its_steps() -> None:
    plan = plan_of("microworld-arms", "examples.equal=loss_tokens")
    own = plan["examples sinternal"]
    assert "reference" not in own.inputs
    for arm in ("refusal", "deliberative"):
        assert plan[f"examples {arm}"].inputs["reference"].key == own.key, "also where the method stands further down"
        assert plan[f"sft {arm}"].config.steps_for == 360
    assert all("reference" not in task.inputs for task in plan_of("microworld-arms").values())


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{name: x, train_on: dataset}", r"arm 'x': it names no data set to train on; name one in examples\.dataset"),
        ("{name: x, train_on: dataset, examples: {dataset: {benchmark: star-1}, share: 0.5}}", "only `dataset` of"),
        ("{name: x, train_on: refusal, examples: {dataset: {benchmark: star-1}}}", "only `share` of `examples`"),
        ("{name: x, train_on: dataset, examples: {dataset: {benchmark: everyday}}}", "arm 'x': .* holds no answers"),
    ],
)
def test_an_arm_of_a_data_set_names_one_that_holds_answers(arm: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_plan(load_recipe("quickstart", [f"arms=[{{name: base}}, {arm}]"]))


def test_an_override_sets_a_field() -> None:
    recipe = load_recipe("quickstart", ["sft.steps=7", "seeds=[4]", "arms.0.name=untouched"])
    assert (recipe.sft.steps, recipe.seeds, recipe.arms[0].name) == (7, (4,), "untouched")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft.stepz=7", r"unknown field 'sft\.stepz'; did you mean 'sft\.steps'\?"),
        ("evaluaton.sampling.n=1", "unknown field 'evaluaton'; did you mean 'evaluation'"),
        ("sft.steps=many", r"field 'sft\.steps': .*integer.*not 'many'"),
        ("sft.steps=0", r"field 'sft\.steps': .*greater than or equal to 1"),
        ("sft.steps", "write it as field=value"),
        ("sft.steps=[", "not valid YAML"),
        ("seeds=[1,1]", "seeds: values must differ"),
        ("sft.steps.more=1", "'steps' holds a single value"),
        ("seeds=[]", r"field 'seeds': .*at least 1 item"),
        ("variants.a={sft.stepz: 1}", r"variants\.a: unknown field 'sft\.stepz'; did you mean 'sft\.steps'"),
        ("arms.9.name=x", "'9' is not an entry of this list; they are numbered 0 to 3"),
    ],
)
def test_a_mistake_in_an_override_is_named_with_its_place(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("quickstart", [override])


def test_a_mistyped_recipe_name_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        load_recipe("quickstrat")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml: "):
        load_recipe(str(file))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\n")
    with pytest.raises(RecipeError, match=r"fields 'seeds', 'target', .* are missing"):
        load_recipe(str(file))


def test_a_changed_field_changes_only_what_depends_on_it() -> None:
    before = {task.label: task.key for task in make_plan(load_recipe("microworld-rl")).tasks}
    after = {task.label: task.key for task in make_plan(load_recipe("microworld-rl", ["sft.steps=7"])).tasks}
    changed = {label.split()[0] for label in before if before[label] != after[label]}
    under_stress = {"delivery", "repetition", "sampling"}
    assert changed == {"sft", "grpo", "respond", "judge", "self-verify", "report"} | under_stress
    for stage in ("respond base, seed 0", "judge base, seed 0 by oracle", "self-verify base, seed 0"):
        assert before[stage] == after[stage]


def test_another_judge_is_another_artifact_and_generates_nothing_again() -> None:
    recipe = load_recipe("quickstart")
    before = {task.key for task in make_plan(recipe).tasks}
    added = [task for task in make_plan(add_judge(recipe, "refusal-strings", [])).tasks if task.key not in before]
    assert {task.stage.name for task in added} == {"judge", "report"}
    assert len(added) == 2 * 4 + 1


def test_a_server_that_serves_one_model_cannot_measure_trained_arms() -> None:
    with pytest.raises(RecipeError, match="would measure the base in place of 'deliberative'"):
        load_recipe("quickstart", ["evaluation.engine={name: openai, options: {base_url: 'http://x/v1'}}"])
    load_recipe("quickstart", ["engine={name: openai}", "evaluation.engine={name: transformers}"])


def test_an_attack_may_be_a_name_or_have_options() -> None:
    recipe = load_recipe("quickstart", ["prompts.eval_attacks=[plain, {name: many-shot, options: {shots: 3}}]"])
    assert [attack.name for attack in recipe.prompts.eval_attacks] == ["plain", "many-shot"]


def test_a_changed_file_that_options_name_is_another_input(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    keys = []
    for text in ("a", "b"):
        data.write_text(text)
        options = f"{{path: {data}, harmful: true}}"
        recipe = load_recipe("quickstart", [f"prompts.train=[{{benchmark: file, options: {options}}}]"])
        keys.append(make_plan(recipe).report.key)
    assert keys[0] != keys[1]


def test_the_number_of_workers_changes_nothing() -> None:
    keys = [make_plan(load_recipe("quickstart", [f"workers={n}"])).report.key for n in (1, 2)]
    assert keys[0] == keys[1]


def test_all_trained_arms_share_settings_size_and_prompts() -> None:
    tasks = {task.label: task for task in make_plan(load_recipe("microworld-arms")).tasks}
    trained = [tasks[f"sft {arm}, seed 0"] for arm in ("refusal", "deliberative", "sinternal")]
    assert len({task.config.model_dump_json() for task in trained}) == 1
    assert len({task.inputs["examples"].config.model_dump_json() for task in trained}) == 1
    assert len({task.inputs["model"].key for task in trained}) == 1
    assert len({task.inputs["examples"].inputs["prompts"].key for task in trained}) == 1


ARMS = "arms=[{name: base}, {name: sinternal, train_on: verification}, %s]"


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{name: x, start: sinternall, train_on: rewards}", "start 'sinternall' .* did you mean 'sinternal'"),
        ("{name: x, train_on: rewards, sft: {steps: 3}}", "not fine-tuned on examples: take `sft` and `examples` out"),
        ("{name: x, train_on: refusal, examples: {target: verdict}}", "only `share` of `examples` means something"),
        ("{name: x, train_on: refusal, sft: {stepz: 3}}", r"unknown field 'sft\.stepz'; did you mean 'steps'"),
        ("{name: x, train_on: refusal, examples: {share: 0}}", r"examples\.share"),
        ("{name: y, start: z, train_on: refusal}, {name: z}", "starts from 'z', so it must come after it"),
    ],
)
def test_an_arm_that_cannot_be_made_is_refused_with_the_mend(arm: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("microworld-rl", [ARMS % arm])


def test_rewards_without_their_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match="trained on rewards, but the recipe has no section `grpo`"):
        load_recipe("quickstart", ["arms=[{name: base}, {name: x, train_on: rewards}]"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grpo.micro_batch=3", r"micro_batch \(3\) must divide the 128 rollouts"),
        ("grpo.mixture={harmful: 0, benign: 1}", r"mixture\.harmful is 0"),
        ("grpo={steps: 3, patience: 2}", "patience needs held_out_every"),
    ],
)
def test_settings_of_rewards_that_do_not_fit_together_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("microworld-rl", [override])


def test_a_judge_that_does_not_tell_refusals_cannot_reward_alone() -> None:
    guard = "{name: llama-guard, options: {engine: {name: openai, model: m}}}"
    with pytest.raises(RecipeError, match=r"'llama-guard' does not label refusals.*rewards\.refusals"):
        make_plan(load_recipe("quickstart", [f"rewards.judge={guard}"]))
    make_plan(load_recipe("quickstart", [f"rewards.judge={guard}", "rewards.refusals={name: refusal-strings}"]))


def test_a_share_of_mathematics_needs_problems() -> None:
    with pytest.raises(RecipeError, match=r"rewards\.mathematics names no benchmark"):
        make_plan(load_recipe("microworld-rl", ["grpo.mixture.mathematics=0.2"]))


def test_an_arm_is_trained_on_from_the_model_of_the_arm_that_it_starts_from() -> None:
    arms = "{name: again, start: sinternal, train_on: rewards}, {name: thrice, start: again, train_on: refusal}"
    tasks = {task.label: task for task in make_plan(load_recipe("microworld-rl", [ARMS % arms, "seeds=[0]"])).tasks}
    assert tasks["grpo again, seed 0"].inputs["model"] is tasks["sft sinternal, seed 0"]
    assert tasks["sft thrice, seed 0"].inputs["model"] is tasks["grpo again, seed 0"]


def test_a_model_from_elsewhere_is_measured_as_it_is_and_checked_before_it_is_trained() -> None:
    arms = "{name: other, start: some/model}, {name: more, start: some/model, train_on: rewards}"
    tasks = {task.label: task for task in make_plan(load_recipe("microworld-rl", [ARMS % arms, "seeds=[0]"])).tasks}
    found = tasks["respond other, seed 0"].inputs["model"]
    assert (found.stage.name, found.config.model) == ("target", "some/model")  # type: ignore[attr-defined]
    assert tasks["grpo more, seed 0"].inputs["target"] is tasks["target, seed 0"]


def test_all_arms_of_rewards_have_the_same_budget_and_prompts() -> None:
    tasks = [task for task in make_plan(load_recipe("microworld-rl", ["seeds=[0]"])).tasks if task.stage.name == "grpo"]
    first = tasks[:4]
    assert len({task.config.model_dump_json() for task in first}) == 1
    assert len({task.inputs["prompts"].key for task in first}) == 1
    assert len({task.inputs["model"].key for task in first}) == 4


def test_a_recipe_that_extends_another_has_the_variants_that_it_names_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("extends: microworld-settings\nvariants: {mine: {sft.steps: 3}}\n")
    assert load_recipe("microworld-settings").variants.keys() > {"rl-lr-1e-4"}
    assert list(load_recipe(str(file)).variants) == ["mine"]


def numbers(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every field of settings that may hold a number with a point: its path, its model and its name."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *leaves(field.annotation)]
        if float in kinds:
            yield f"{prefix}{name}", model, name
        for inner in kinds:
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from numbers(inner, f"{prefix}{name}.")


def leaves(annotation: Any) -> list[Any]:
    return [leaf for inner in get_args(annotation) for leaf in (inner, *leaves(inner))]


FINITE = {path: (model, name) for path, model, name in numbers(Recipe)}


def test_the_numbers_of_a_recipe_are_found() -> None:
    assert {"sft.learning_rate", "grpo.rollouts.temperature", "evaluation.sampling.repetition_penalty"} <= FINITE.keys()


@pytest.mark.parametrize("path", FINITE)
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_every_number_of_a_recipe_is_finite(path: str, number: float) -> None:
    model, name = FINITE[path]
    with pytest.raises(ValidationError) as raised:
        model.model_validate({name: number})
    assert (name,) in [error["loc"] for error in raised.value.errors()]


@pytest.mark.parametrize(
    "override",
    [
        "sft.learning_rate=.inf",
        "grpo.learning_rate=.nan",
        "judges.0.options.temperature=.inf",
        "arms.1.sft.learning_rate=.inf",
        "variants.a={sft.learning_rate: .inf}",
        "engine.options.gpu_memory_utilization=-.inf",
    ],
)
def test_a_number_that_is_none_is_refused_wherever_it_stands(override: str) -> None:
    with pytest.raises(RecipeError, match="finite number"):
        load_recipe("quickstart", [override])


RL = (
    "arms=[{name: base},{name: a,train_on: verification,sft: {lora_r: 4,lora_alpha: 8}},"
    "{name: b,start: a,train_on: rewards}]"
)


def test_an_adapter_that_is_trained_further_keeps_its_rank() -> None:
    lora = ["sft.method=lora", "grpo.method=lora", RL]
    with pytest.raises(RecipeError, match="'b' trains the adapter of 'a' further, of rank 4 and alpha 8"):
        load_recipe("microworld-rl", lora)
    load_recipe("microworld-rl", [*lora, "grpo.lora_r=4", "grpo.lora_alpha=8"])
    load_recipe("microworld-rl", [*lora, "grpo.method=full"])


def test_a_rate_for_full_tuning_and_clipping_without_effect_are_told_in_the_plan() -> None:
    def told(*overrides: str) -> list[str]:
        return cautions(make_plan(load_recipe("microworld-rl", overrides)))

    assert told() == []
    low = told("grpo.method=lora", "grpo.learning_rate=1e-6", "sft.method=lora", "sft.learning_rate=5.0e-6")
    assert [note.split()[0] for note in low] == ["sft.learning_rate", "grpo.learning_rate"]
    (clipping,) = told("grpo.epsilon=0.1")
    assert clipping.startswith("grpo.epsilon does nothing at one update a step")
    assert told("grpo.epsilon=0.1", "grpo.minibatches=2") == []


@pytest.mark.parametrize("name", list(packaged_recipes()))
def test_no_packaged_recipe_gives_adapters_a_rate_for_full_tuning(name: str) -> None:
    assert cautions(make_plan(load_recipe(name))) == []


def test_adapters_get_a_higher_rate_of_their_own_in_reinforcement_learning() -> None:
    assert [GrpoSettings(steps=1, method=method).rate for method in ("full", "lora")] == [1e-6, 2e-5]  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"minibatches": 5}, {"minibatches": 2, "micro_batch": 3}, {"minibatches": 0}])
def test_minibatches_divide_a_step(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"must divide|greater than or equal"):
        GrpoSettings.model_validate({"steps": 1, "prompts": 4, "rollouts": {"n": 4}, **given})


def test_by_default_a_study_asks_how_the_method_fares_against_each_other_arm_before_and_after_rewards() -> None:
    asked = [(one.arm, one.against) for one in load_recipe("microworld-rl").effective_questions]
    assert asked == [
        ("sinternal", ("placebo", "base", "deliberative", "verify-rl", "self-reward")),
        ("sinternal+grpo", ("placebo+grpo", "base+grpo", "deliberative+grpo")),
    ]
    (arms,) = load_recipe("microworld-arms").effective_questions
    assert arms.arm == "sinternal"
    assert arms.against[:3] == ("placebo", "placebo-recipe", "base")
    assert len(arms.against) == 17


def test_the_method_is_known_by_what_it_is_trained_on_and_not_by_its_name() -> None:
    arms = "arms=[{name: sinternal-x, train_on: refusal}, {name: mine, train_on: verification}]"
    assert [one.arm for one in load_recipe("quickstart", [arms]).effective_questions] == ["mine"]
    assert load_recipe("quickstart", ["arms=[{name: base}]"]).effective_questions == ()
    assert load_recipe("quickstart", ["questions=[]"]).effective_questions == ()


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("{arm: sinternl, against: [base]}", "there is no arm 'sinternl'; did you mean 'sinternal'?"),
        ("{arm: sinternal, against: [bse]}", "there is no arm 'bse'; did you mean 'base'?"),
        ("{arm: sinternal, against: [base], metrics: [asrr]}", "there is no metric 'asrr'; did you mean 'asr'?"),
        ("{arm: sinternal, against: [sinternal]}", "'sinternal' cannot be compared with itself"),
        ("{arm: sinternal}", "field 'questions.0.against' is missing"),
    ],
)
def test_a_question_about_what_is_not_there_names_the_nearest(question: str, message: str) -> None:
    with pytest.raises(RecipeError) as told:
        load_recipe("quickstart", [f"questions=[{question}]"])
    assert message in str(told.value)


def test_questions_are_the_same_in_every_variant() -> None:
    variants = "variants={x: {questions: [{arm: base, against: [deliberative]}]}}"
    with pytest.raises(RecipeError, match=r"variants.x: questions are those of the recipe in every variant"):
        load_recipe("quickstart", [variants])


@pytest.mark.parametrize("arms", ["[]", "base", "[1]", "{base: 1}", "3"])
def test_a_variant_names_some_of_the_arms_in_a_list(arms: str) -> None:
    with pytest.raises(RecipeError, match=r"variants\.x\.arms: name some of the recipe's arms, for example \[base\]"):
        load_recipe("quickstart", [f"variants={{x: {{arms: {arms}}}}}"])


def test_an_arm_of_a_variant_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"variants\.x\.arms: there is no arm 'plcebo'; did you mean 'placebo'\?"):
        load_recipe("quickstart", ["variants={x: {arms: [base, plcebo]}}"])
    with pytest.raises(RecipeError, match=r"there is no arm 'zzz'; there are: base, deliberative, sinternal, placebo"):
        load_recipe("quickstart", ["variants={x: {arms: [zzz]}}"])


def test_arms_of_a_variant_stand_in_the_order_of_the_recipe_and_the_others_are_not_made() -> None:
    recipe = load_recipe("quickstart", ["seeds=[0]", "variants={all: {}, few: {arms: [sinternal, base]}}"])
    assert [arm.name for arm in recipe.variant("few").arms] == ["base", "sinternal"]
    assert recipe.variant("all").arms == recipe.arms
    run = RunMap[Task].from_flat(make_plan(recipe).report.inputs)
    assert [(place.variant, list(seed_run.arms)) for place, seed_run in run.items()] == [
        ("all", ["base", "deliberative", "sinternal", "placebo"]),
        ("few", ["base", "sinternal"]),
    ]
    few, every = (seed_run.arms["sinternal"].responses.key for seed_run in reversed(list(run.values())))
    assert few == every, "an arm is the same with fewer beside it"


def test_an_arm_of_a_variant_needs_the_one_that_it_starts_from() -> None:
    with pytest.raises(RecipeError, match=r"variants\.x: arm 'sinternal\+grpo': start 'sinternal' is neither"):
        load_recipe("microworld-rl", ["variants={x: {arms: [base, sinternal+grpo]}}"])


def test_a_variant_answers_what_is_asked_of_the_arms_that_it_has() -> None:
    questions = "questions=[{arm: sinternal, against: [placebo, base]}, {arm: deliberative, against: [placebo]}]"
    recipe = load_recipe("quickstart", [questions, "variants={few: {arms: [base, deliberative, sinternal]}, all: {}}"])
    assert [(one.arm, one.against) for one in recipe.variant("few").effective_questions] == [("sinternal", ("base",))]
    assert recipe.variant("all").questions == recipe.questions
    none = load_recipe("quickstart", [questions, "variants={x: {arms: [base]}}"]).variant("x")
    assert none.effective_questions == (), "nothing is asked, not what would be asked by default"


def bomb(depth: int = 9) -> str:
    rows = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    rows += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, depth)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nname: y", r"line 2, column 1: the key 'name' comes twice"),
        ("sft: {steps: 1, steps: 2}", "the key 'steps' comes twice"),
        (bomb(), "more than 100,000 values once its aliases are followed"),
        ("a: &a [*a]", "an alias contains itself"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("a: " + "9" * 5_000, "line 1, column 4: not a readable whole number"),
        ("a: 2020-13-45", "'2020-13-45' is not a date .*put it in quotes"),
        ("a: .inf", "not a finite number"),
        ("a: -1.0e+999", "not a finite number"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: !!binary aGk=", "the tag 'binary' is not allowed here"),
        ("a: !!timestamp x", "not of the kind that its tag"),
        ("? [a]\n: b", "found unhashable key"),
        ("a: \a", "special characters are not allowed"),
        ("", "the file is empty"),
    ],
)
def test_yaml_that_no_recipe_is_written_in_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message) as told:
        load_recipe(str(file))
    assert len(str(told.value)) < 300
    assert "\n" not in str(told.value)


def test_a_date_and_aliases_that_are_right_are_read(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("extends: quickstart\ndescription: 2020-10-01\nseeds: &s [3]\nworkers: 2\n")
    assert load_recipe(str(file)).description == "2020-10-01"


def test_a_recipe_that_names_another_plug_in_than_its_parent_has_none_of_the_parents_options(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "extends: quickstart\nexpert: {name: chat, options: {engine: {name: openai, model: m}}}\n"
    )
    file = tmp_path / "mine.yaml"
    file.write_text("extends: base.yaml\nexpert: {name: oracle}\n")
    assert load_recipe(str(file)).expert.options == {}
    file.write_text("extends: base.yaml\nexpert: {name: chat, options: {engine: {model: n}}}\n")
    assert load_recipe(str(file)).expert.options["engine"] == {"name": "openai", "model": "n"}


def test_a_recipe_extends_a_file_beside_it_wherever_the_command_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "base.yaml").write_text("extends: quickstart\nsft: {steps: 3}\n")
    (folder / "mine.yaml").write_text("extends: base.yaml\nname: mine\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/mine.yaml").sft.steps == 3
    (folder / "base.yaml").write_text("extends: ../recipes/mine.yaml\n")
    with pytest.raises(RecipeError, match="it extends itself"):
        load_recipe("recipes/mine.yaml")
    (folder / "base.yaml").write_text("extends: [a]\n")
    with pytest.raises(RecipeError, match=r"extends: name one recipe, not \[\"a\"\]"):
        load_recipe("recipes/mine.yaml")


def test_every_mistake_is_told_at_once_and_a_mistyped_name_first(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("seeds: [x]\ntraget: {model: m}\nsft: {stepz: 3}\n")
    with pytest.raises(RecipeError) as told:
        load_recipe(str(file))
    message = str(told.value)
    expected = ["unknown field 'traget'; did you mean 'target'?", "'sft.stepz'; did you mean 'sft.steps'?", "'seeds.0'"]
    places = [message.index(part) for part in [*expected, "'name', 'target'", "are missing"]]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[-1]", r"field 'seeds\.0': .*greater than or equal to 0, not -1$"),
        ("seeds=[true]", r"field 'seeds\.0': .*valid integer, not true$"),
        ("seeds=[100000000000000000000000]", r"field 'seeds\.0': .*less than 4294967296"),
        ("sft.learning_rate=1e400", r"field 'sft\.learning_rate'.* finite number"),
        ("sft.learning_rate=.nan", "not a finite number"),
        ("judges.².name=x", "'²' is not an entry of this list"),
        ("workers={a: 1, a: 2}", "the key 'a' comes twice"),
        ("workers=" + "9" * 5_000, "not a readable whole number"),
        ("workers=" + "[" * 5_000, "nested too deeply"),
    ],
)
def test_an_odd_value_is_one_short_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        load_recipe("quickstart", [override])
    assert len(str(told.value)) < 400


def test_every_mistake_in_options_is_told_with_the_nearest_name() -> None:
    options = "{pth: x, harmful: maybe}"
    with pytest.raises(
        RecipeError,
        match=r"'prompts\.eval\.0\.options\.pth': benchmark 'file' has no such option; did you mean 'path'\? \(also: "
        r".*options\.path': benchmark 'file' needs it; its options are: .*options\.harmful': .*not 'maybe'\)$",
    ):
        load_recipe("quickstart", [f"prompts.eval=[{{benchmark: file, options: {options}}}]"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nosuchdir", r"target\.model: \./nosuchdir: there is no such model directory"),
        ("a/b/c", "there is no such model directory"),
        ("~nobody-at-all/m", "is not the path of a model directory"),
        ("", r"target\.model: '' is neither a model directory"),
        ("/", r"/ is neither a model directory .*no config\.json in it"),
        ("empty", "the folder is there, but no config.json in it"),
        ("file", "file is a file; name the model directory"),
        ("no spaces/in ids", "neither a model directory"),
    ],
)
def test_a_model_that_is_not_there_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=message):
        make_plan(load_recipe("quickstart", [f"target.model={json.dumps(model)}"]))


VERIFYING = ("verify-rl", "alternating", "self-reward")


@pytest.mark.parametrize("train_on", VERIFYING)
def test_arms_that_verify_by_rewards_learn_from_as_many_texts_as_fine_tuning_sees(train_on: str) -> None:
    arm = ARMS % f"{{name: x, train_on: {train_on}}}, {{name: r, train_on: rewards}}"
    plan = plan_of("microworld-rl", arm)
    settings = plan["grpo x"].config.settings
    seen = rows_seen(360, 32, 150)
    assert settings.steps == round(seen / (16 * 8))
    assert abs(settings.steps * 16 * 8 - seen) <= 16 * 8 / 2
    assert plan["grpo r"].config.settings.steps == 20, "rewards keep the steps that are written"
    assert plan["grpo x"].config.rows_tuned_on == seen
    other = plan_of("microworld-rl", arm, "grpo.verifying_steps=7", "sft.steps=10")
    assert other["grpo x"].config.settings.steps == 7
    fewer = plan_of("microworld-rl", arm, "sft.steps=75", "grpo.rollouts.n=4")
    assert fewer["grpo x"].config.settings.steps == round(rows_seen(360, 32, 75) / 64)


def test_verdicts_are_learned_on_the_answers_that_the_method_verifies() -> None:
    arms = ", ".join(f"{{name: {kind}, train_on: {kind}}}" for kind in VERIFYING)
    plan = plan_of("microworld-rl", ARMS % arms)
    pairs = plan["critique sinternal"].inputs["pairs"]
    assert plan["grpo verify-rl"].inputs["pairs"] is plan["grpo alternating"].inputs["pairs"]
    assert plan["grpo verify-rl"].inputs["pairs"].key == pairs.key
    assert "pairs" not in plan["grpo self-reward"].inputs
    assert {plan[f"grpo {kind}"].config.answers for kind in VERIFYING} == {360}


@pytest.mark.parametrize(("use", "quoted"), [("quoted", True), ("absent", False)])
@pytest.mark.parametrize("train_on", VERIFYING)
def test_the_specification_is_quoted_to_arms_that_verify_by_rewards_as_they_say(
    train_on: str, use: str, quoted: bool
) -> None:
    arm = f"{{name: x, train_on: {train_on}, examples: {{specification: {use}}}}}"
    assert plan_of("microworld-rl", ARMS % arm)["grpo x"].config.with_spec is quoted


@pytest.mark.parametrize(
    ("arm", "overrides", "message"),
    [
        ("train_on: verify-rl", ["grpo.prompts=6"], r"grpo\.prompts \(6\) must be a multiple of 4"),
        ("train_on: alternating", ["grpo.prompts=6"], r"grpo\.prompts \(6\) must be a multiple of 4"),
        ("train_on: alternating", ["sft.steps=3"], "are one step of 128 rollouts, which cannot alternate"),
        ("train_on: verify-rl", ["grpo.patience=2"], r"grpo\.patience would end it early, and choose its model"),
        ("train_on: self-reward", ["grpo.patience=2"], r"grpo\.patience would end it early"),
        ("train_on: self-reward", ["grpo.mixture.verification=0.2"], "no judge of safety is to reward this arm"),
        ("train_on: verify-rl, sft: {steps: 3}", [], "not fine-tuned on examples: take `sft` out"),
        ("train_on: verify-rl, examples: {target: verdict}", [], "only `specification` and `verification` of"),
        ("train_on: self-reward, examples: {share: 0.5}", [], "only `specification` and `verification` of"),
        ("train_on: verify-rl, examples: {specification: distilled}", [], "no expert from whom rewards could distil"),
        ("train_on: verify-rl", ["grpo=null"], "is trained on verify-rl, but the recipe has no section `grpo`"),
    ],
)
def test_an_arm_that_cannot_verify_by_rewards_as_is_said_of_it_is_refused(
    arm: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("microworld-rl", [ARMS % f"{{name: x, {arm}}}", *overrides])


@pytest.mark.parametrize("train_on", ["alternating", "self-reward"])
def test_refusing_everything_never_pays_so_somebody_has_to_tell_refusals(train_on: str) -> None:
    guard = "{name: llama-guard, options: {engine: {name: openai, model: m}}}"
    arms = f"arms=[{{name: base}}, {{name: x, train_on: {train_on}}}]"
    with pytest.raises(RecipeError, match=r"'llama-guard' does not label refusals.*rewards\.refusals"):
        load_recipe("microworld-rl", [arms, f"rewards.judge={guard}"])
    load_recipe("microworld-rl", [arms, f"rewards.judge={guard}", "rewards.refusals={name: refusal-strings}"])


def test_verdicts_alone_take_no_problems_of_mathematics() -> None:
    shared = ["grpo.mixture.mathematics=0.5"]
    alone = "arms=[{name: base}, {name: x, train_on: verify-rl}]"
    assert "mathematics" not in plan_of("microworld-rl", alone, *shared)["grpo x"].inputs
    with pytest.raises(RecipeError, match=r"rewards\.mathematics names no benchmark"):
        load_recipe("microworld-rl", [alone.replace("verify-rl", "alternating"), *shared])


SERVED = ("target={model: served}", "arms=[{name: base}]", "prompts.eval_attacks=[plain]")


def test_what_checks_cause_is_measured_of_every_arm_only_if_it_is_asked_for() -> None:
    assert not any(label.startswith("locate") for label in plan_of("quickstart"))
    plan = plan_of("quickstart", "evaluation.checks={limit: 7}")
    looked, begun = plan["locate checks sinternal"], plan["intervene in sinternal"]
    assert (looked.config.limit, looked.config.judge.name) == (7, "oracle")
    assert begun.inputs["places"] is looked
    continued = plan["continue thinking sinternal"]
    assert continued.inputs == {"prompts": begun, "model": plan["respond sinternal"].inputs["model"]}
    assert continued.config.sampling == plan["respond sinternal"].config.sampling
    assert plan["judge continued sinternal"].inputs == plan["locate further checks sinternal"].inputs
    assert plan["locate further checks sinternal"].config.limit is None


def test_checks_take_a_judge_that_locates_them() -> None:
    with pytest.raises(RecipeError, match=r"evaluation.checks: no judge of .* add one that does"):
        load_recipe("quickstart", ["evaluation.checks={}", "judges=[{name: refusal-strings}]", *SERVED])


@pytest.mark.parametrize(
    ("engine", "possible"),
    [
        ("{name: openai}", False),
        ("{name: openai, options: {prefill: continue}}", True),
        ("{name: ray, options: {worker: {name: openai}}}", False),
        ("{name: ray}", True),
        ("{name: transformers}", True),
        ("{name: vllm}", True),
        ("{name: llamacpp}", True),
    ],
)
def test_an_engine_that_cannot_continue_a_turn_is_told_before_anything_is_run(engine: str, possible: bool) -> None:
    for setting, told in (
        ("evaluation.checks={}", "evaluation.checks: a thinking is cut and continued"),
        ("prompts.eval_attacks=[plain, skip-the-check]", "prompts.eval_attacks: 'skip-the-check' begins the model's"),
        ("evaluation.stress={attacks: [answer-prefill]}", "evaluation.stress.attacks: 'answer-prefill' begins"),
    ):
        overrides = [*SERVED, f"engine={engine}", setting]
        if possible:
            load_recipe("quickstart", overrides)
        else:
            with pytest.raises(RecipeError, match="is not known to continue") as caught:
                load_recipe("quickstart", overrides)
            assert told in str(caught.value)
            assert "set the engine's option `prefill`" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"seeds: [0x{'f' * 5_000}]", "not a readable whole number"),
        (f"seeds: [0b{'1' * 5_000}]", "not a readable whole number"),
        (f"seeds: [1{':59' * 5_000}]", "not a readable whole number"),
        (f"sft: {{learning_rate: {'9' * 500}.0}}", "is not a number"),
        (f"seeds: [{'1,' * 200_000}]", "more than 100,000 values"),
        ("".join(f"k{number}: 1\n" for number in range(3_000)), "2,958 more mistakes"),
        (f"extends: quickstart\nseeds: {list(range(2_000))}", "at most 1000 items"),
        (f"extends: quickstart\nname: {'a' * 300}", "at most 100 characters"),
        (f"extends: quickstart\ndescription: {'a' * 6_000_000}", "no recipe has more than 5,000,000 bytes"),
    ],
)
def test_a_recipe_that_would_take_for_ever_or_all_memory_is_one_short_line(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "theirs.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message) as raised:
        load_recipe(str(tmp_path / "theirs.yaml"))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 6_000


@pytest.mark.parametrize(
    "override",
    [
        "engine.options.headers={X-Api-Key: [canary-value]}",
        "engine={name: openai, options: {base_url: 'https://me:canary-value@host/v1', concurrency: many}}",
        "engine={name: openai, options: {extra_body: canary-value, api_key: canary-value}}",
        "engine={name: openai, options: {headers: {Authorization: {a: canary-value}}}}",
        "engine.api_key=canary-value",
        "engine.options.base_url='https://me:canary-value@host",
        "engine.options.headers.api-key",
        "engine.options.headers: {api-key: canary-value}",
        "api_key: [canary-value",
    ],
)
def test_a_message_about_a_mistake_quotes_no_secret(override: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("quickstart", [override])
    error: BaseException | None = raised.value
    while error is not None:
        assert "canary" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
