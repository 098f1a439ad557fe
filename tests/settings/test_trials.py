"""Which arms an effect is measured by: placebos of the same start, and what the method was before training."""

from __future__ import annotations

from sinternal.experts import Subject
from sinternal.settings.arms import Arm, Placebo, TrainOn
from sinternal.settings.questions import Question
from sinternal.settings.recipe import Recipe, load_recipe
from sinternal.settings.trials import Trial, trials


def arm(name: str, train_on: TrainOn = TrainOn.NOTHING, start: str | None = None) -> Arm:
    placebo = Placebo(kind=Subject.LENGTH) if train_on is TrainOn.PLACEBO else None
    return Arm(name=name, train_on=train_on, start=start, placebo=placebo)


ARMS = (
    arm("base"),
    arm("refusal", TrainOn.REFUSAL),
    arm("mine", TrainOn.VERIFICATION),
    arm("placebo", TrainOn.PLACEBO),
    arm("base+grpo", TrainOn.REWARDS),
    arm("placebo+grpo", TrainOn.REWARDS, "placebo"),
    arm("mine+grpo", TrainOn.REWARDS, "mine"),
)


def with_arms(arms: tuple[Arm, ...]) -> Recipe:
    recipe = load_recipe("quickstart")
    return recipe.model_copy(update={"arms": arms, "questions": None})


def tried(arms: tuple[Arm, ...]) -> tuple[Trial, ...]:
    return trials(arms, with_arms(arms).effective_questions)


def test_the_placebos_of_a_method_are_asked_about_first_and_after_rewards_theirs() -> None:
    asked = [(one.arm, one.against) for one in with_arms(ARMS).effective_questions]
    assert asked == [
        ("mine", ("placebo", "base", "refusal")),
        ("mine+grpo", ("placebo+grpo", "base+grpo")),
    ]


def test_a_trial_has_the_method_its_placebos_and_its_base_before_and_after_rewards() -> None:
    assert tried(ARMS) == (
        Trial("mine", ("placebo",), "base"),
        Trial("mine+grpo", ("placebo+grpo",), "base+grpo"),
    )


def test_without_a_placebo_or_a_base_a_trial_has_none() -> None:
    assert tried(ARMS[:3]) == (Trial("mine", (), "base"),)
    assert tried(ARMS[2:4]) == (Trial("mine", ("placebo",), None),)


def test_a_placebo_from_another_start_is_none_of_the_method() -> None:
    elsewhere = (*ARMS[:3], arm("placebo", TrainOn.PLACEBO, "refusal"))
    assert trials(elsewhere, [])[0].placebos == ()


def test_demonstrations_have_no_placebo_of_their_form() -> None:
    question = Question(arm="refusal", against=("placebo",))
    assert trials(ARMS, [question])[0] == Trial("refusal", (), "base")


def test_the_arm_of_the_first_question_comes_first_and_references_have_no_effect() -> None:
    ablated = (*ARMS[:4], arm("mine-too", TrainOn.VERIFICATION))
    questions = [
        Question(arm="base", against=("mine",)),
        Question(arm="placebo", against=("mine",)),
        Question(arm="mine-too", against=("mine",)),
    ]
    assert [one.method for one in trials(ablated, questions)] == ["mine-too", "mine"]


def test_a_question_about_an_arm_that_a_variant_does_not_have_asks_nothing() -> None:
    asked = [Question(arm="mine-too", against=("base",)), Question(arm="refusal", against=("base",))]
    assert [row.method for row in trials(ARMS[:3], asked)] == ["refusal", "mine"]
