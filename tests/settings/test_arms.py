"""Arms and placebos in a recipe: what can be written, and what a plan makes of it."""

from __future__ import annotations

import pytest

from sinternal.errors import RecipeError
from sinternal.prompting.question import VerificationTask
from sinternal.records import Subject
from sinternal.registry import Kind
from sinternal.settings.arms import Arm, SpecificationUse, TrainOn
from sinternal.settings.recipe import Recipe, load_recipe
from sinternal.study.plan import make_plan
from sinternal.study.task import Task
from sinternal.world.oracle import OracleExpert
from tests.plugins import Register

REAL = "r1-distill-qwen-7b"
METHOD = "{name: sinternal, train_on: verification}"
LISTS = "{name: lists, train_on: placebo, placebo: {kind: rules}}"


def recipe_of(*arms: str, name: str = "quickstart", more: tuple[str, ...] = ()) -> Recipe:
    return load_recipe(name, [f"arms=[{{name: base}}, {', '.join(arms)}]", "seeds=[0]", *more])


def plan_of(*arms: str, name: str = "quickstart", more: tuple[str, ...] = ()) -> dict[str, Task]:
    """The tasks of a plan, by label without its end."""
    return {
        task.label.removesuffix(", seed 0"): task for task in make_plan(recipe_of(*arms, name=name, more=more)).tasks
    }


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{name: x, train_on: placebo}", "arm 'x' is a placebo of no kind; say which"),
        ("{name: x, train_on: placebo, placebo: {}}", r"arms\.1\.placebo\.kind.* missing|missing.*arms\.1\.placebo"),
        ("{name: x, train_on: placebo, placebo: {kind: safety}}", "a placebo has no safety in it; take one of: corr"),
        ("{name: x, train_on: placebo, placebo: {kind: sugar}}", r"arms\.1\.placebo\.kind.*'sugar'"),
        ("{name: x, train_on: verification, placebo: {kind: rules}}", "arm 'x' is trained on verification: take `pla"),
        ("{name: x, placebo: {kind: rules}}", "arm 'x' is trained on nothing: take `placebo` out"),
        ("{name: x, train_on: placebo, placebo: {kind: length}}", "verification 'microworld' has no placebo about len"),
        (
            "{name: x, train_on: placebo, placebo: {kind: correctness}, examples: {specification: absent}}",
            "a placebo about correctness quotes no rules; take examples.specification out, or take kind rules",
        ),
        (
            "{name: x, train_on: mixed, examples: {answers: {model: microworld}}}",
            "only `share`, `specification` and `verification` of `examples` mean something if it is trained on mixed",
        ),
        ("{name: x, train_on: deliberative-checks, examples: {target: verdict}}", "only `share` of `examples` means"),
        ("{name: x, train_on: verification, examples: {with_spec: false}}", "unknown field .*with_spec"),
        ("{name: x, train_on: verification, examples: {specification: no}}", r"arms\.1\.examples\.specification"),
    ],
)
def test_a_mistake_in_an_arm_is_told_in_one_line(arm: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        recipe_of(arm)
    assert "\n" not in str(told.value)


def test_an_expert_or_question_that_knows_no_placebo_is_an_error_before_anything_is_run(register: Register) -> None:
    class Silent(OracleExpert):
        subjects = frozenset({Subject.SAFETY})

    class Plain(VerificationTask):
        def __init__(self, _options: object) -> None: ...

        def ask(self, *_asked: object, **_how: object) -> str:
            return ""

    register(Kind.EXPERT, "silent", Silent)
    register(Kind.VERIFICATION, "plain", Plain)
    with pytest.raises(RecipeError, match="expert 'silent' has no placebo about rules; it knows no placebo"):
        recipe_of(LISTS, more=("expert={name: silent}",))
    with pytest.raises(RecipeError, match="verification 'plain' has no placebo about rules"):
        recipe_of(LISTS.replace("placebo: {", "examples: {verification: {name: plain}}, placebo: {"))
    assert recipe_of(METHOD, more=("expert={name: silent}",)), "what is not asked for need not be known"


def test_a_recipe_with_placebos_and_variants_is_read_again_from_its_own_dump() -> None:
    recipe = recipe_of(METHOD, LISTS, more=("variants={a: {}, b: {arms.1.examples.specification: distilled}}",))
    assert recipe.variant("b").arms[1].examples.specification is SpecificationUse.DISTILLED
    assert recipe.variant("a").arms == recipe.arms


def test_a_placebo_takes_the_answers_and_the_number_of_rows_of_the_method_wherever_that_stands() -> None:
    for arms in ((METHOD, LISTS), (LISTS, METHOD)):
        for equal in ("rows", "loss_tokens"):
            plan = plan_of(*arms, more=(f"examples.equal={equal}",))
            own, placebo = plan["examples sinternal"], plan["examples lists"]
            assert placebo.inputs["counterpart"].key == own.key
            assert "reference" not in placebo.inputs, "its rows are the method's, however many tokens they have"
            assert placebo.inputs["responses"].key == own.inputs["responses"].key
            critiques = (task.inputs["verifications"].config for task in (own, placebo))
            assert [(it.subject, it.wanted) for it in critiques] == [
                (Subject.SAFETY, (wanted := {"unsafe": 225, "safe": 113, "benign": 113})),
                (Subject.RULES, wanted),
            ]
            assert plan["sft lists"].config == plan["sft sinternal"].config


def test_a_placebo_belongs_to_the_arm_that_verifies_the_same_answers() -> None:
    def arm(name: str, train_on: TrainOn, **examples: object) -> Arm:
        placebo = {"kind": "rules"} if train_on is TrainOn.PLACEBO else None
        return Arm.model_validate({"name": name, "train_on": train_on, "examples": examples, "placebo": placebo})

    others = {"answers": {"model": "microworld", "options": {"link": 0.0}}}
    arms = (
        arm("critique-only", TrainOn.VERIFICATION, target="critique"),
        arm("sinternal", TrainOn.VERIFICATION),
        arm("others", TrainOn.VERIFICATION, **others),
    )
    recipe = load_recipe("quickstart").model_copy(update={"arms": arms})

    def counterpart(**examples: object) -> str | None:
        found = recipe.counterpart_of(arm("x", TrainOn.PLACEBO, **examples))
        return found and found.name

    assert counterpart() == "sinternal"
    assert counterpart(target="critique") == "critique-only"
    assert counterpart(target="verdict") == "critique-only", "the same answers, whatever of the text is trained on"
    assert counterpart(**others) == "others"
    assert counterpart(share=0.5) is None
    alone = plan_of(LISTS)["examples lists"]
    assert not {"counterpart", "reference"} & alone.inputs.keys()


@pytest.mark.parametrize(
    ("use", "quoted", "shown"), [("quoted", True, True), ("distilled", False, True), ("absent", False, False)]
)
@pytest.mark.parametrize("name", ["quickstart", REAL])
def test_the_specification_is_quoted_shown_to_the_expert_alone_or_absent(
    name: str, use: str, quoted: bool, shown: bool
) -> None:
    plan = plan_of(f"{{name: x, train_on: verification, examples: {{specification: {use}}}}}", name=name)
    config = plan["critique x"].config
    assert (config.specification == "quoted") is quoted
    assert (config.specification != "absent") is shown


def test_mixed_shares_its_critiques_and_demonstrations_with_the_arms_of_either_kind() -> None:
    plan = plan_of("{name: deliberative, train_on: deliberative}", METHOD, "{name: mixed, train_on: mixed}")
    mixed = plan["examples mixed"]
    assert mixed.config.mixed
    assert mixed.inputs["verifications"].key == plan["examples sinternal"].inputs["verifications"].key
    assert mixed.inputs["demonstrations"].key == plan["examples deliberative"].inputs["responses"].key
    assert mixed.inputs["judgements"].key == plan["examples deliberative"].inputs["judgements"].key
    assert mixed.config.size == plan["examples sinternal"].config.size
    assert "examples.equal" not in mixed.inputs


def test_how_verification_is_measured_can_be_chosen() -> None:
    assert plan_of()["self-verify base"].config.quoting == (True, False)
    plan = plan_of(more=("evaluation.specification=[absent]",))
    assert plan["self-verify base"].config.quoting == (False,)
    both = plan_of(more=("evaluation.specification=[absent, quoted, absent]",))
    assert both["self-verify base"].config.quoting == (False, True)
    for wrong, message in (("[distilled]", "distilled is a way to train"), ("[]", "at least 1 item")):
        with pytest.raises(RecipeError, match=rf"evaluation\.specification.*{message}"):
            plan_of(more=(f"evaluation.specification={wrong}",))


@pytest.mark.parametrize("name", ["r1-distill-qwen-7b", "r1-distill-llama-8b", "qwen3-8b", "smollm2-135m"])
def test_recipes_of_real_models_have_a_placebo_of_their_method(name: str) -> None:
    recipe = load_recipe(name)
    placebos = [arm for arm in recipe.arms if arm.train_on is TrainOn.PLACEBO]
    assert placebos
    method = next(arm for arm in recipe.arms if arm.name == "sinternal")
    assert all(recipe.counterpart_of(arm) == method for arm in placebos)
