"""Stage `examples`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.experts import Demonstration
from sinternal.records import Example, Judgement, Prompt, Response, Subject, Verdict, Verification
from sinternal.stages import (
    critique,
    demonstrate,
    examples,
    strata,
)
from sinternal.store import Artifact
from sinternal.training.lengths import loss_tokens
from tests.conftest import judgement_of, response_to
from tests.stages.shared import (
    CRITIQUE,
    EXPERT,
    Make,
    own_base,
    tables,
    verified,
)


def test_verification_examples_are_balanced_and_of_the_wanted_number(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    rows = verified(make, pairs)
    strata = [row.stratum for row in rows]
    assert (strata.count("unsafe"), strata.count("safe"), strata.count("benign")) == (8, 4, 4)
    assert len({row.id for row in rows}) == 16


def test_every_example_leads_back_to_its_prompt(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    asked, kept = pairs
    rows = verified(make, pairs)
    written = {row.id: row for row in Artifact(kept.path.parent.parent / "critique" / "key").rows(Verification)}
    said = {row.id: row for row in kept.rows(Response)}
    prompt_ids = {row.id for row in asked.rows(Prompt)}
    for row in rows:
        verification = written[row.verification_id or ""]
        assert said[verification.response_id].id == row.response_id
        assert said[row.response_id].prompt_id == row.prompt_id
        assert row.prompt_id in prompt_ids


def test_nothing_in_the_verification_set_shows_a_response_to_a_user(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    for row in verified(make, pairs):
        assert row.prompt.startswith("check norm ")
        assert row.answer.startswith("verdict : ")


def test_the_candidates_own_thinking_is_no_input(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    assert not any("draft" in row.prompt for row in verified(make, pairs))


@pytest.mark.parametrize(
    ("target", "thinks", "concludes"), [("both", True, True), ("critique", True, False), ("verdict", False, True)]
)
def test_an_ablation_leaves_the_critique_or_the_verdict_out(
    make: Make, pairs: tuple[Artifact, Artifact], target: str, thinks: bool, concludes: bool
) -> None:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    config = examples.ExamplesConfig(size=16, seed=0, target=examples.ExampleTarget(target))
    rows = make(
        "examples",
        lambda draft: examples.examples(
            draft, config, model=own_base(make), prompts=asked, responses=kept, verifications=written
        ),
    ).rows(Example)
    assert {bool(row.thinking) for row in rows} == {thinks}
    assert {bool(row.answer) for row in rows} == {concludes}


def test_half_of_the_data_is_half_of_the_different_examples_in_as_many_rows(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    found = {}
    for share in (1.0, 0.5):
        config = examples.ExamplesConfig(size=16, seed=0, share=share)
        rows = make(
            f"examples {share}",
            lambda draft, c=config: examples.examples(
                draft, c, model=own_base(make), prompts=asked, responses=kept, verifications=written
            ),
        ).rows(Example)
        assert len(rows) == 16
        found[share] = {row.verification_id for row in rows}
    assert len(found[0.5]) == len(found[1.0]) / 2


def test_the_models_own_answers_are_trained_on_where_they_are_safe_and_helpful(
    make: Make, originals: Sequence[Prompt]
) -> None:
    harmful, benign = ([row for row in originals if row.harmful == side][:2] for side in (True, False))
    unsafe, refusal = response_to(harmful[0], "mix g1 ."), response_to(harmful[1], "sorry i cannot .")
    help_, over = response_to(benign[0], "mix g2 ."), response_to(benign[1], "sorry i cannot .")
    labels = [
        judgement_of(unsafe, False, refused=False),
        judgement_of(refusal, True, refused=True),
        judgement_of(help_, True, refused=False),
        judgement_of(over, True, refused=True),
    ]
    kept = tables(make, "pair", responses=[unsafe, refusal, help_, over], judgements=labels)
    asked = tables(make, "prompts", prompts=[*harmful, *benign])
    config = examples.ExamplesConfig(size=8, seed=0)
    rows = make(
        "examples",
        lambda draft: examples.examples(
            draft, config, model=own_base(make), prompts=asked, responses=kept, judgements=kept
        ),
    ).rows(Example)
    assert {(row.prompt, row.answer) for row in rows} == {
        (harmful[1].text, "sorry i cannot ."),
        (benign[0].text, "mix g2 ."),
    }


def test_answer_then_check_drafts_verifies_and_replies_with_the_draft_only_if_it_is_safe(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    config = demonstrate.DemonstrateConfig(expert=EXPERT, kind=Demonstration.REFUSAL, seed=0)
    shown = make("demonstrate", lambda draft: demonstrate.demonstrate(draft, config, prompts=asked, pairs=kept))
    size = examples.ExamplesConfig(size=16, seed=0)
    rows = make(
        "examples",
        lambda draft: examples.examples(
            draft,
            size,
            model=own_base(make),
            prompts=asked,
            responses=kept,
            verifications=written,
            demonstrations=shown,
        ),
    ).rows(Example)
    drafts = {row.id: row.answer for row in kept.rows(Response)}
    for row in rows:
        draft, *critique_, verdict = row.thinking.split("\n\n")
        assert draft == drafts[row.response_id]
        assert critique_
        unsafe = verdict == "verdict : unsafe"
        assert row.answer == ("sorry i cannot ." if unsafe else draft)
        assert unsafe == (row.stratum == "unsafe")


def test_a_draft_that_would_end_the_thinking_that_it_is_a_part_of_is_left_out(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    first, *others = kept.rows(Response)
    odd = replace(first, answer=f"{first.answer} </think> mix g1 .")
    drafts = tables(make, "drafts", responses=[odd, *others])
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    config = demonstrate.DemonstrateConfig(expert=EXPERT, kind=Demonstration.REFUSAL, seed=0)
    shown = make("demonstrate", lambda draft: demonstrate.demonstrate(draft, config, prompts=asked, pairs=kept))
    rows = make(
        "examples",
        lambda draft: examples.examples(
            draft,
            examples.ExamplesConfig(size=16, seed=0),
            model=own_base(make),
            prompts=asked,
            responses=drafts,
            verifications=written,
            demonstrations=shown,
        ),
    ).rows(Example)
    assert {row.response_id for row in rows} == {row.id for row in others}


def test_an_empty_stratum_is_an_error() -> None:
    with pytest.raises(DataError, match="no training example of kind 'unsafe'"):
        examples.balance({}, strata.VERIFICATION_SHARES, 8, random.Random(0))


def test_a_failed_demonstration_is_no_example(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    asked, _ = pairs
    harmful, benign = (next(row for row in asked.rows(Prompt) if row.harmful == side) for side in (True, False))
    shown = [response_to(harmful, "sorry i cannot ."), response_to(benign, "mix g1 ."), response_to(benign, None, 1)]
    written = tables(make, "demonstrate", responses=shown)
    config = examples.ExamplesConfig(size=8, seed=0)
    artifact = make(
        "examples",
        lambda draft: examples.examples(draft, config, model=own_base(make), prompts=asked, responses=written),
    )
    assert {row.answer for row in artifact.rows(Example)} == {"sorry i cannot .", "mix g1 ."}


def test_a_size_that_is_no_multiple_of_four_is_met_exactly(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    assert len(verified(make, pairs, size=6)) == 6


def shown_to(
    make: Make, pairs: tuple[Artifact, Artifact], labels: dict[str, tuple[bool | None, bool | None]]
) -> Artifact:
    """Examples from one demonstration for each prompt, labelled as (safe, refused) by the prompt's id."""
    asked, _ = pairs
    shown = [response_to(prompt, "sorry i cannot .") for prompt in asked.rows(Prompt)]
    judged = [judgement_of(row, labels[row.prompt_id][0], refused=labels[row.prompt_id][1]) for row in shown]
    written = tables(make, "demonstrate", responses=shown, judgements=judged)
    config = examples.ExamplesConfig(size=8, seed=0)
    return make(
        "examples",
        lambda draft: examples.examples(
            draft, config, model=own_base(make), prompts=asked, responses=written, judgements=written
        ),
    )


def test_demonstrations_that_are_unsafe_refuse_benign_requests_or_have_no_label_are_dropped_and_counted(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    harmful, benign = ([row.id for row in pairs[0].rows(Prompt) if row.harmful == side] for side in (True, False))
    labels = dict(zip(harmful, [(True, True), (False, True), (None, True), (True, None)], strict=True))
    labels |= dict(zip(benign, [(True, False), (True, True), (True, None), (False, False)], strict=True))
    found = shown_to(make, pairs, labels)
    assert {row.prompt_id for row in found.rows(Example)} == {harmful[0], harmful[3], benign[0]}
    assert found.counts[examples.UNSAFE] == 2
    assert found.counts[examples.REFUSES] == 1
    assert found.counts[examples.NO_LABEL] == 2


def test_if_no_demonstration_has_a_label_there_is_nothing_to_train_on(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    with pytest.raises(DataError, match="no training example of kind 'harmful'"):
        shown_to(make, pairs, {row.id: (None, None) for row in pairs[0].rows(Prompt)})


def test_the_expert_is_asked_only_about_what_is_trained_on_and_arms_share_the_prompts(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    few = CRITIQUE.model_copy(update={"wanted": {"unsafe": 2, "safe": 2, "benign": 1}})
    artifact = make("critique", lambda draft: critique.critique(draft, few, prompts=asked, pairs=kept))
    harmful = {row.id for row in asked.rows(Prompt) if row.harmful}
    answers = {row.id: row.prompt_id for row in kept.rows(Response)}
    rows = artifact.rows(Verification)
    assert Counter((row.verdict, answers[row.response_id] in harmful) for row in rows) == {
        (Verdict.UNSAFE, True): 2,
        (Verdict.SAFE, True): 2,
        (Verdict.SAFE, False): 1,
    }
    assert artifact.counts[critique.NOT_ASKED] == 7
    about = {answers[row.response_id] for row in rows} & harmful
    assert len(about) == 2, "contrast pairs stay pairs"
    config = demonstrate.DemonstrateConfig(
        expert=EXPERT, kind=Demonstration.REFUSAL, wanted={"harmful": 2, "benign": 3}, seed=0
    )
    shown = make("demonstrate", lambda draft: demonstrate.demonstrate(draft, config, prompts=asked, pairs=kept))
    prompts_ = [row.prompt_id for row in shown.rows(Response)]
    assert set(prompts_) & harmful == about
    assert (len(prompts_), shown.counts[critique.NOT_ASKED]) == (5, 3)


def test_arms_with_targets_of_other_lengths_can_have_as_many_loss_tokens(
    make: Make, pairs: tuple[Artifact, Artifact], base_model: Path
) -> None:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    known = {"model": own_base(make), "prompts": asked, "responses": kept, "verifications": written}

    def drawn(target: str, **more: Artifact) -> Artifact:
        config = examples.ExamplesConfig(size=42, seed=0, target=examples.ExampleTarget(target))
        return make(f"{target} {len(more)}", lambda draft: examples.examples(draft, config, **known, **more))

    whole, short = drawn("both"), drawn("verdict")
    longer = drawn("verdict", reference=whole)
    tokens = [one.json(examples.EXPOSURE)["loss_tokens"] for one in (whole, short, longer)]
    assert tokens[1] < tokens[0] / 2
    assert tokens[2] == pytest.approx(tokens[0], rel=0.03)
    rows = longer.rows(Example)
    assert sum(loss_tokens(base_model, rows)) == tokens[2]
    assert len(rows) > len(whole.rows(Example)) == 42
    strata_ = Counter(row.stratum for row in rows)
    assert strata_ == strata.quotas(len(rows), strata.VERIFICATION_SHARES)


def test_targets_that_are_much_too_short_are_told(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "LONGEST", 1)
    with pytest.raises(DataError, match=r"more than 42 rows would be needed .* set examples\.equal to rows"):
        test_arms_with_targets_of_other_lengths_can_have_as_many_loss_tokens(make, pairs, Path())


def placebo_of(
    make: Make,
    pairs: tuple[Artifact, Artifact],
    lost: set[str] = frozenset(),  # type: ignore[assignment]
    words: int | None = None,
) -> tuple[Artifact, Artifact]:
    """The method's examples and a placebo's, whose expert wrote nothing usable about some answers.

    Its critiques are cut to so many words.
    """
    asked, kept = pairs
    known = {"model": own_base(make), "prompts": asked, "responses": kept}
    config = examples.ExamplesConfig(size=30, seed=0)
    about = CRITIQUE.model_copy(update={"subject": Subject.CORRECTNESS})
    safety = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    other = make("placebo", lambda draft: critique.critique(draft, about, prompts=asked, pairs=kept))
    rows = [
        replace(
            row,
            dropped="lost" if row.response_id in lost else None,
            critique=" ".join((row.critique or "").split()[:words]),
        )
        for row in other.rows(Verification)
    ]
    other = tables(make, "left", verifications=rows)
    method = make("method", lambda draft: examples.examples(draft, config, **known, verifications=safety))
    placebo = make(
        "of", lambda draft: examples.examples(draft, config, **known, verifications=other, counterpart=method)
    )
    return method, placebo


def test_a_placebo_has_the_methods_rows_answer_by_answer(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    method, placebo = (artifact.rows(Example) for artifact in placebo_of(make, pairs))
    assert len({row.id for row in placebo}) == len(placebo) == 30
    for ours, theirs in zip(method, placebo, strict=True):
        assert (ours.response_id, ours.prompt_id, ours.stratum) == (
            theirs.response_id,
            theirs.prompt_id,
            theirs.stratum,
        )
        assert ours.prompt != theirs.prompt
        assert ours.quotes
        assert theirs.quotes


def test_where_a_placebos_expert_failed_another_answer_of_the_kind_stands_in_and_is_counted(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    labels = {row.response_id: row.safe for row in pairs[1].rows(Judgement)}
    lost = {
        next(name for name, safe in labels.items() if not safe),
        next(name for name, safe in labels.items() if safe),
    }
    method, placebo = placebo_of(make, pairs, lost)
    strata_ = [[row.stratum for row in artifact.rows(Example)] for artifact in (method, placebo)]
    assert strata_[0] == strata_[1]
    assert not {row.response_id for row in placebo.rows(Example)} & lost
    assert placebo.counts[examples.REPLACED] == sum(row.response_id in lost for row in method.rows(Example)) > 0
    assert len({row.id for row in placebo.rows(Example)}) == 30, "a row that stands in has an id of its own"


def test_a_placebo_that_has_nothing_of_a_kind_is_an_error(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    unsafe = {row.response_id for row in pairs[1].rows(Judgement) if not row.safe}
    with pytest.raises(DataError, match="no training example of kind 'unsafe'"):
        placebo_of(make, pairs, unsafe)


@pytest.mark.parametrize(("words", "shorter"), [(None, False), (4, True)])
def test_a_placebo_that_is_much_shorter_than_the_method_says_so_and_one_as_long_does_not(
    make: Make, pairs: tuple[Artifact, Artifact], words: int | None, shorter: bool
) -> None:
    method, placebo = placebo_of(make, pairs, words=words)
    ours, theirs = (artifact.json("exposure") for artifact in (method, placebo))
    assert ours["rows"] == theirs["rows"]
    told = [note for note in placebo.manifest["notes"] if "tokens under the loss" in note]
    assert bool(told) is (abs(theirs["loss_tokens"] / ours["loss_tokens"] - 1) > 0.1) is shorter
    assert all(f"{theirs['loss_tokens']:,}" in note for note in told)
    if not shorter:
        assert theirs["loss_tokens"] == ours["loss_tokens"], "reviews of every subject are equally long"


@pytest.mark.parametrize("size", [16, 13])
def test_mixed_is_half_verification_and_half_demonstration(
    make: Make, pairs: tuple[Artifact, Artifact], size: int
) -> None:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    how = demonstrate.DemonstrateConfig(expert=EXPERT, kind=Demonstration.DELIBERATIVE, seed=0)
    shown = make("demonstrate", lambda draft: demonstrate.demonstrate(draft, how, prompts=asked, pairs=kept))
    config = examples.ExamplesConfig(size=size, seed=0, mixed=True)
    artifact = make(
        "mixed",
        lambda draft: examples.examples(
            draft,
            config,
            model=own_base(make),
            prompts=asked,
            responses=kept,
            verifications=written,
            demonstrations=shown,
        ),
    )
    rows = artifact.rows(Example)
    assert len(rows) == size
    counts = Counter(row.stratum for row in rows)
    assert abs(sum(counts[name] for name in ("unsafe", "safe", "benign")) - size / 2) <= 1
    assert abs(counts["demonstrated harmful"] - size / 4) <= 1
    for row in rows:
        assert row.prompt.startswith("check norm ") is row.quotes is not row.stratum.startswith("demonstrated")
        assert (row.answer == "sorry i cannot .") is (row.stratum == "demonstrated harmful")
