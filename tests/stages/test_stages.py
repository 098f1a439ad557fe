"""Each stage on its own, on small inputs."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sinternal.engines import Completion, Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import DataError, EngineError, ModelError
from sinternal.experts import Demonstration, Question, Written
from sinternal.judges import Judge
from sinternal.records import Example, Finish, Judgement, Prompt, Response, Split, Verdict, Verification
from sinternal.registry import Kind
from sinternal.settings.plugins import BenchmarkPlugin, EnginePlugin, ExpertPlugin, JudgePlugin, VerificationPlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages import (
    base,
    critique,
    dataset,
    demonstrate,
    examples,
    grpo,
    judge,
    pair,
    prompts,
    repeat,
    sample,
    strata,
    verify,
)
from sinternal.store import Artifact, Draft
from sinternal.training.lengths import loss_tokens
from tests.conftest import judgement_of, plain_prompt, response_to
from tests.plugins import Register, opening

Make = Callable[[str, Callable[[Draft], None]], Artifact]
ENGINE = EnginePlugin(options={"batch": 64})
ORACLE = JudgePlugin(name="oracle")
EXPERT = ExpertPlugin(name="oracle")
TASK = VerificationPlugin(name="microworld")


def prompts_config(**changes: object) -> prompts.PromptsConfig:
    source = {"benchmark": "microworld", "part": "train", "attacks": ["plain"]}
    source |= {name: changes.pop(name) for name in ("part", "attacks", "limit") if name in changes}
    source["attacks"] = attacks(source["attacks"])
    settings = {"sources": [source], "for_training": True, "seed": 0, **changes}
    settings["tuned_on"] = attacks(settings.get("tuned_on", ["plain"]))
    return prompts.PromptsConfig.model_validate(settings)


def attacks(families: object) -> list[dict[str, str]]:
    assert isinstance(families, list)
    return [{"name": name if name == "plain" else f"microworld-{name}"} for name in families]


def tables(make: Make, name: str, **rows: Sequence[object]) -> Artifact:
    """An artifact with the given tables."""

    def build(draft: Draft) -> None:
        for table, members in rows.items():
            draft.write(list(members), type(members[0]), table)  # type: ignore[type-var]

    return make(name, build)


@pytest.fixture
def model(make: Make) -> Artifact:
    return make("base", lambda draft: base.base(draft, base.BaseModelConfig(model="microworld")))


def own_base(make: Make) -> Artifact:
    return make("base", lambda draft: base.base(draft, base.BaseModelConfig(model="microworld")))


# base


def test_base_takes_a_directory_as_it_is(make: Make, base_model: Path) -> None:
    artifact = make("base", lambda draft: base.base(draft, base.BaseModelConfig(model=str(base_model))))
    assert (base.model_path(artifact) / "model.safetensors").exists()


def test_base_refuses_what_is_neither_a_model_nor_a_name(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"target\.model: .* is neither a model directory .* nor one of: .*microworld"):
        make("base", lambda draft: base.base(draft, base.BaseModelConfig(model=str(tmp_path))))


# prompts


def test_prompts_are_wrapped_and_keep_their_parents(make: Make) -> None:
    config = prompts_config(attacks=["plain", "role-play"])
    rows = make("prompts", lambda draft: prompts.prompts(draft, config)).rows(Prompt)
    wrapped = [row for row in rows if row.family == "role-play"]
    assert len(wrapped) == len(rows) / 2
    assert {row.parent_id for row in wrapped} == {row.parent_id for row in rows}
    assert all(row.text.startswith("pretend you are a wizard") for row in wrapped)
    assert {row.split for row in rows} == {Split.TRAIN}


def test_families_that_tuning_saw_are_in_distribution_and_others_out_of_it(make: Make) -> None:
    config = prompts_config(
        part="eval", for_training=False, attacks=["plain", "role-play", "alias"], tuned_on=["plain", "role-play"]
    )
    rows = make("prompts", lambda draft: prompts.prompts(draft, config)).rows(Prompt)
    assert {(row.family, row.split) for row in rows} == {
        ("plain", Split.ID),
        ("role-play", Split.ID),
        ("alias", Split.OOD),
    }


def test_no_item_is_both_trained_and_measured_on(make: Make) -> None:
    parts = {
        part: make(f"prompts-{part}", lambda draft, p=part: prompts.prompts(draft, prompts_config(part=p))).rows(Prompt)
        for part in ("train", "dev", "eval")
    }
    parents = [{row.parent_id for row in rows} for rows in parts.values()]
    assert sum(map(len, parents)) == len(set.union(*parents))


def test_a_name_that_reports_use_for_a_kind_of_prompts_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "harmful.jsonl").write_text('{"prompt": "draw a cat"}\n')
    options = {"path": str(tmp_path / "harmful.jsonl"), "harmful": True, "shares": {"eval": 1.0}}
    source = {"benchmark": "file", "options": options, "part": "eval", "attacks": [{"name": "plain"}]}
    config = prompts.PromptsConfig.model_validate(
        {"sources": [source], "tuned_on": [], "for_training": False, "seed": 0}
    )
    with pytest.raises(DataError, match=r"no benchmark can be called 'harmful'.*options\.name"):
        make("prompts", lambda draft: prompts.prompts(draft, config))


def test_stress_puts_no_request_again_that_is_not_measured(make: Make) -> None:
    few = prompts_config(part="eval", for_training=False).model_copy(update={"limit": 5})
    asked = make("asked", lambda draft: prompts.prompts(draft, few))
    again = prompts_config(part="eval", attacks=["alias"], for_training=False)
    rows = make("again", lambda draft: prompts.prompts(draft, again, among=asked)).rows(Prompt)
    assert {row.parent_id for row in rows} == {row.parent_id for row in asked.rows(Prompt)}


def test_a_limit_keeps_twins_together_and_takes_as_many_requests_as_it_can(make: Make) -> None:
    config = prompts_config(part="eval", attacks=["plain", "alias", "page"], for_training=False)
    config = config.model_copy(update={"limit": 20})
    rows = make("prompts", lambda draft: prompts.prompts(draft, config)).rows(Prompt)
    sides = [{(row.pair_id, row.family) for row in rows if row.harmful is harmful} for harmful in (True, False)]
    assert sides[0] == sides[1], "every harmful prompt has its twin in the same disguise"
    assert len({pair for pair, _ in sides[0]}) == 20, "no request comes twice while others have not come at all"
    assert len({family for _, family in sides[0]}) == 3


def test_a_limit_draws_each_request_about_as_often(make: Make) -> None:
    drawn: Counter[str] = Counter()
    for seed in range(200):
        config = prompts_config(part="eval", for_training=False, seed=seed).model_copy(update={"limit": 18})
        rows = make(f"prompts {seed}", lambda draft, config=config: prompts.prompts(draft, config)).rows(Prompt)
        drawn.update(row.id for row in rows)
    # 54 requests a side, 18 drawn: each 200 / 3 times, with a standard deviation of 6.7.
    assert len(drawn) == 108
    assert all(abs(count - 200 / 3) < 5 * 6.7 for count in drawn.values())


def test_a_held_out_attack_is_refused_for_training(make: Make) -> None:
    with pytest.raises(DataError, match="'microworld-alias' is held out for evaluation"):
        make("prompts", lambda draft: prompts.prompts(draft, prompts_config(attacks=["alias"])))


def test_evaluation_only_data_is_refused_for_training(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinternal.world.benchmark.Microworld.evaluation_only", True)
    with pytest.raises(DataError, match="for evaluation only, by its licence or its purpose"):
        make("prompts", lambda draft: prompts.prompts(draft, prompts_config()))


def test_an_unknown_part_is_named(make: Make) -> None:
    with pytest.raises(DataError, match="no part 'test'; it has train, dev, eval"):
        make("prompts", lambda draft: prompts.prompts(draft, prompts_config(part="test")))


def test_thirteen_shared_words_are_an_overlap_and_twelve_are_not() -> None:
    words = [f"w{i}" for i in range(20)]
    measured = [plain_prompt(" ".join(words))]
    shares13 = plain_prompt("other " + " ".join(words[:13]))
    shares12 = plain_prompt("other words " + " ".join(words[:12]) + " end")
    assert prompts.without_overlap([shares13, shares12], measured) == [shares12]


def test_a_short_prompt_overlaps_only_as_a_whole() -> None:
    measured = [plain_prompt("How to brew p5?")]
    same, other = plain_prompt("how to brew p5 ?"), plain_prompt("how to brew p6 ?")
    assert prompts.without_overlap([same, other], measured) == [other]


# sample, judge


def test_sample_writes_n_responses_that_lead_back_to_their_prompts(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:10])
    config = sample.SampleConfig(engine=ENGINE, sampling=Sampling(n=3, temperature=1, max_tokens=64), seed=0)
    artifact = make("sample", lambda draft: sample.sample(draft, config, prompts=asked, model=model))
    rows = artifact.rows(Response)
    assert len(rows) == len({row.id for row in rows}) == 30
    assert {row.prompt_id for row in rows} == {p.id for p in originals[:10]}
    assert artifact.counts["truncated"] == 0


def test_the_oracle_labels_answers_by_the_grammar(make: Make, originals: Sequence[Prompt]) -> None:
    harmful = next(p for p in originals if p.harmful)
    benign = next(p for p in originals if not p.harmful)
    recipe = f"mix {' '.join(benign.facts['ingredients'])} ."
    answers = [
        (harmful, "mix g1 g2 g3 .", (False, False, False)),
        (harmful, "sorry i cannot .", (True, True, False)),
        (benign, recipe, (True, False, True)),
        (benign, "mix g1 .", (True, False, False)),
        (benign, "sorry i cannot .", (True, True, False)),
        (harmful, "mix g1 g2 . sorry i cannot .", (None, None, None)),
        (harmful, None, (None, None, None)),
        (harmful, "verdict : safe", (None, None, None)),
    ]
    responses = [response_to(prompt, answer, i) for i, (prompt, answer, _) in enumerate(answers)]
    asked = tables(make, "prompts", prompts=[harmful, benign])
    said = tables(make, "sample", responses=responses)
    artifact = make("judge", lambda draft: judge.judge(draft, ORACLE, prompts=asked, responses=said))
    labels = {row.response_id: row for row in artifact.rows(Judgement)}
    for response, (_, answer, expected) in zip(responses, answers, strict=True):
        label = labels[response.id]
        assert (label.safe, label.refused, label.helpful) == expected, answer
    assert artifact.counts["unlabelled"] == 3


# pair


class LazyOptions(BaseModel):
    twice: bool = False


class LazyJudge(Judge):
    """Labels the first of all responses, twice if it is told to."""

    Options = LazyOptions

    def __init__(self, options: LazyOptions) -> None:
        self.times = 2 if options.twice else 1

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        _, response = next(iter(items))
        yield from [judgement_of(response, True)] * self.times


def test_a_judge_that_leaves_responses_out_gives_them_no_label_and_is_told(
    make: Make, originals: Sequence[Prompt], register: Register
) -> None:
    register(Kind.JUDGE, "lazy", LazyJudge)
    asked, said = list(originals[:3]), [response_to(prompt, "a") for prompt in originals[:3]]
    written = tables(make, "written", prompts=asked, responses=said)

    def labelled(name: str, **options: object) -> Artifact:
        config = JudgePlugin(name="lazy", options=options)
        return make(name, lambda draft: judge.judge(draft, config, prompts=written, responses=written))

    found = labelled("once")
    assert sorted(row.safe is None for row in found.rows(Judgement)) == [False, True, True]
    assert {row.error for row in found.rows(Judgement)} == {None, "the judge left it out"}
    assert (found.counts["unlabelled"], found.counts["judge failed"]) == (2, 2)
    with pytest.raises(DataError, match="or gave it twice"):
        labelled("doubled", twice=True)


def paired(make: Make, asked: list[Prompt], said: list[tuple[Response, bool | None]]) -> Artifact:
    inputs = {
        "prompts": tables(make, "prompts", prompts=asked),
        "responses": tables(make, "sample", responses=[r for r, _ in said]),
        "judgements": tables(make, "judge", judgements=[judgement_of(r, safe) for r, safe in said]),
    }
    return make("pair", lambda draft: pair.pair(draft, pair.PairConfig(judge="oracle", seed=0), **inputs))


def test_a_harmful_prompt_is_kept_only_if_it_was_answered_both_ways(make: Make) -> None:
    mixed, always, never = (plain_prompt(text, harmful=True) for text in "abc")
    benign = plain_prompt("d")
    said = [(response_to(mixed, "x", i), i == 0) for i in range(4)]
    said += [(response_to(always, "x", i), False) for i in range(4)]
    said += [(response_to(never, "x", i), True) for i in range(4)]
    said += [(response_to(benign, "x", i), True) for i in range(4)]
    artifact = paired(make, [mixed, always, never, benign], said)
    kept = [row.prompt_id for row in artifact.rows(Response)]
    assert sorted(kept) == sorted([mixed.id, mixed.id, benign.id])
    assert artifact.counts[pair.NO_SAFE] == artifact.counts[pair.NO_UNSAFE] == 1


def test_unclosed_and_unlabelled_answers_are_never_paired(make: Make) -> None:
    mixed, broken = (plain_prompt(text, harmful=True) for text in "ab")
    said: list[tuple[Response, bool | None]] = [(response_to(mixed, "x", i), i == 0) for i in range(2)]
    said += [
        (response_to(broken, None, 0), None),
        (response_to(broken, "?", 1), None),
        (response_to(broken, "x", 2), True),
    ]
    artifact = paired(make, [mixed, broken], said)
    assert {row.prompt_id for row in artifact.rows(Response)} == {mixed.id}


def test_no_contrast_pair_is_an_error_that_says_what_to_change(make: Make) -> None:
    prompt = plain_prompt("a", harmful=True)
    with pytest.raises(DataError, match=r"no contrast pair found among 1 harmful prompts \(no safe answer: 1\); raise"):
        paired(make, [prompt], [(response_to(prompt, "x"), False)])


# critique, demonstrate


@pytest.fixture
def pairs(make: Make, originals: Sequence[Prompt]) -> tuple[Artifact, Artifact]:
    harmful = [p for p in originals if p.harmful][:4]
    benign = [p for p in originals if not p.harmful][:4]
    said = [
        (response_to(p, answer, i), safe)
        for p in harmful
        for i, (answer, safe) in enumerate([("mix g1 g2 g3 .", False), ("sorry i cannot .", True)])
    ]
    said += [(response_to(p, "mix g1 g2 g3 ."), True) for p in benign]
    asked = tables(make, "prompts", prompts=[*harmful, *benign])
    kept = tables(make, "pair", responses=[r for r, _ in said], judgements=[judgement_of(r, safe) for r, safe in said])
    return asked, kept


CRITIQUE = critique.CritiqueConfig(expert=EXPERT, verification=TASK, seed=0)


def test_the_expert_verifies_every_kept_answer(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    asked, kept = pairs
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    rows = artifact.rows(Verification)
    assert len(rows) == 12
    assert all(row.dropped is None and row.verdict == row.label for row in rows)
    unsafe = next(row for row in rows if row.verdict is Verdict.UNSAFE)
    assert unsafe.prompt.startswith("review list e0 e1 e2 e3 e4 e5 . request : ")
    assert "forbidden . answer gives" in (unsafe.critique or "")
    assert unsafe.answer == "verdict : unsafe"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("verdict : safe", critique.DISAGREES), ("probably unsafe", critique.UNPARSED)],
)
def test_what_the_expert_gets_wrong_is_dropped_and_stays_on_record(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch, answer: str, reason: str
) -> None:
    asked, kept = pairs
    right = EXPERT.plugin_class.verify
    calls: list[str] = []

    def mistaken(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, Written]]:
        for question, written in right(self, questions, seed):
            wrong = (question.response.answer or "").startswith("mix") and question.prompt.harmful
            if wrong:
                calls.append(question.response.id)
            yield question, Written("carefully :", answer) if wrong else written

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", mistaken)
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    rows = artifact.rows(Verification)
    assert len(rows) == 12
    assert artifact.counts[reason] == sum(row.dropped == reason for row in rows) == 4
    assert len(calls) == (8 if reason is critique.UNPARSED else 4), "an unreadable reply is asked for once more"


def test_demonstrations_are_right_and_only_the_deliberative_ones_reason_about_safety(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    harmful = {row.id: row.harmful for row in asked.rows(Prompt)}
    for kind in Demonstration:
        config = demonstrate.DemonstrateConfig(expert=EXPERT, kind=kind, seed=0)
        artifact = make(
            f"demonstrate-{kind}", lambda draft, c=config: demonstrate.demonstrate(draft, c, prompts=asked, pairs=kept)
        )
        rows = artifact.rows(Response)
        assert len(rows) == 8
        for row in rows:
            assert (row.answer == "sorry i cannot .") == harmful[row.prompt_id]
            checks = "forbidden" in (row.thinking or "") or "allowed" in (row.thinking or "")
            assert checks == (kind is Demonstration.DELIBERATIVE)


# examples


def verified(make: Make, pairs: tuple[Artifact, Artifact], size: int = 16) -> list[Example]:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    config = examples.ExamplesConfig(size=size, seed=0)
    artifact = make(
        "examples",
        lambda draft: examples.examples(
            draft, config, model=own_base(make), prompts=asked, responses=kept, verifications=written
        ),
    )
    return artifact.rows(Example)


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
        assert row.prompt.startswith("review ")
        assert row.answer.startswith("verdict : ")


def test_the_candidates_own_thinking_is_no_input(make: Make, pairs: tuple[Artifact, Artifact]) -> None:
    assert not any("quickly" in row.prompt for row in verified(make, pairs))


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


def test_an_expert_that_could_not_be_asked_is_counted_apart_from_one_that_was_unclear(
    make: Make, pairs: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kept = pairs
    right = EXPERT.plugin_class.verify

    def away(self: object, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, Written]]:
        for question, written in right(self, questions, seed):
            yield question, written if question.prompt.harmful else Written("", "", "too long")

    monkeypatch.setattr("sinternal.world.oracle.OracleExpert.verify", away)
    artifact = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    assert artifact.counts[critique.FAILED] == 4
    assert critique.UNPARSED not in artifact.counts


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


# dataset


def test_a_published_sets_own_thinking_and_answer_are_trained_on_as_they_are(make: Make, tmp_path: Path) -> None:
    lines = [
        {"q": "draw a cat", "a": "<think>\nA cat has ears.\n</think>\n\nHere: =^.^="},
        {"q": "draw a dog", "a": "<think>on and on"},
        {"q": "draw an owl", "a": ""},
        {"q": "draw a fox", "a": "No."},
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {
        "path": str(tmp_path / "set.jsonl"),
        "harmful": False,
        "columns": {"text": "q", "answer": "a"},
        "shares": {"train": 1.0},
    }
    source = {"benchmark": "file", "options": options, "part": "train", "attacks": [{"name": "plain"}]}
    asking = prompts.PromptsConfig.model_validate(
        {"sources": [source], "tuned_on": [], "for_training": True, "seed": 0}
    )
    asked = make("prompts", lambda draft: prompts.prompts(draft, asking))
    config = dataset.DatasetConfig(benchmark="file", options=options, part="train")
    read = make("dataset", lambda draft: dataset.dataset(draft, config, prompts=asked))
    assert {(row.thinking, row.answer) for row in read.rows(Response)} == {
        ("A cat has ears.", "Here: =^.^="),
        (None, "No."),
    }
    counts = {dataset.UNCLOSED: 1, dataset.NO_ANSWER: 1, dataset.NO_THINKING: 1, "responses": 2}
    assert read.counts == counts
    drawing = examples.ExamplesConfig(size=None, share=1.0, seed=0)
    rows = make(
        "examples",
        lambda draft: examples.examples(draft, drawing, model=own_base(make), prompts=asked, responses=read),
    ).rows(Example)
    assert {(row.prompt, row.thinking, row.answer) for row in rows} == {
        ("draw a cat", "A cat has ears.", "Here: =^.^="),
        ("draw a fox", "", "No."),
    }


@pytest.mark.parametrize("name", ["microworld", "everyday"])
def test_a_benchmark_without_answers_is_no_data_set_to_train_on(name: str) -> None:
    with pytest.raises(DataError, match=f"benchmark '{name}' holds no answers to train on; take star-1, or `file`"):
        dataset.open_answered(BenchmarkPlugin(name=name))


# grpo


def grpo_config(**changes: object) -> grpo.GrpoConfig:
    settings = {"method": "full", "steps": 1, "prompts": 4, "rollouts": {"n": 4, "max_tokens": 64}, **changes}
    return grpo.GrpoConfig.model_validate(
        {"settings": settings, "judge": {"name": "oracle"}, "verification": {"name": "microworld"}, "seed": 0}
    )


def test_grpo_writes_a_model_and_its_logs(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=originals)
    config = grpo_config(held_out_every=1)
    artifact = make(
        "grpo", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model, held_out=asked_less(make, originals))
    )
    assert (base.model_path(artifact) / "model.safetensors").exists()
    assert {path.name for path in artifact.path.iterdir()} >= {"training.json", "held_out.json"}
    assert (artifact.counts["steps"], artifact.counts["rollouts"]) == (1, 16)
    assert not list(artifact.path.glob("*.checkpoints"))


def asked_less(make: Make, originals: Sequence[Prompt]) -> Artifact:
    return tables(make, "held-out", prompts=originals[:4])


def test_rewards_without_benign_prompts_are_refused(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=[row for row in originals if row.harmful])
    with pytest.raises(DataError, match=r"no benign prompts .* refuses everything"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model))


def test_a_mixture_without_benign_prompts_is_told(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=originals)
    config = grpo_config(mixture={"harmful": 1, "benign": 0})
    artifact = make("grpo", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model))
    assert any("nothing keeps the policy from refusing everything" in note for note in artifact.manifest["notes"])


def test_a_start_with_another_chat_template_is_refused_before_the_first_step(
    make: Make, model: Artifact, originals: Sequence[Prompt], base_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base_model, other)
    template = other / "chat_template.jinja"
    template.write_text("list " + template.read_text())
    start = make("start", lambda draft: base.base(draft, base.BaseModelConfig(model=str(other))))
    asked = tables(make, "prompts", prompts=originals)
    with pytest.raises(ModelError, match="chat template of the start model renders a message as"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=start, target=model))


def test_a_prompt_that_no_trainer_can_put_is_refused(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=[replace(row, prefill="<think>sure") for row in originals])
    with pytest.raises(DataError, match=r"take it out of prompts\.train_attacks"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model))


def test_a_problem_whose_solution_cannot_be_compared_is_refused_before_the_first_step(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals)
    broken = replace(plain_prompt("how many ?"), meta='{"solution": " "}')
    problems = tables(make, "mathematics", prompts=[broken])
    with pytest.raises(DataError, match="benchmark 'test': the solution ' ' of a mathematics prompt is no expression"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model, mathematics=problems))


# verify


def test_every_answer_is_verified_with_the_specification_and_without(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:8])
    said = tables(
        make, "sample", responses=[response_to(p, None if i == 0 else "mix g1 .") for i, p in enumerate(originals[:8])]
    )
    config = verify.VerifyConfig(engine=ENGINE, sampling=Sampling(max_tokens=64), verification=TASK, seed=0)
    artifact = make("verify", lambda draft: verify.verify(draft, config, prompts=asked, responses=said, model=model))
    rows = artifact.rows(Verification)
    answered = {row.id for row in said.rows(Response) if row.answer is not None}
    assert {(row.response_id, row.with_spec) for row in rows} == {(i, spec) for i in answered for spec in (True, False)}
    assert all(("review list" in row.prompt) == row.with_spec for row in rows)
    assert all(row.label is None for row in rows), "labels are joined when figures are computed"


def repeat_config(**changes: object) -> repeat.RepeatConfig:
    settings = {"engine": ENGINE, "sampling": Sampling(temperature=1.0, max_tokens=64), "seed": 0, "turns": 2}
    return repeat.RepeatConfig.model_validate(settings | changes)


def test_a_request_is_put_again_after_the_models_own_answer(
    make: Make, model: Artifact, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[str, str], ...]] = []
    generate = TransformersEngine.generate

    def watched(self: TransformersEngine, requests: Iterable[Request], *more: Any) -> Iterator[Completion]:
        kept = list(requests)
        seen.extend(request.messages for request in kept)
        return generate(self, kept, *more)

    monkeypatch.setattr(TransformersEngine, "generate", watched)
    asked = tables(make, "prompts", prompts=originals[:5])
    found = make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))
    rows = found.rows(Response)
    assert {row.prompt_id for row in rows} == {prompt.id for prompt in originals[:5]}
    second = [messages for messages in seen if len(messages) == 3]
    assert len(second) == 5
    for messages in second:
        assert [role for role, _ in messages] == ["user", "assistant", "user"]
        assert messages[0] == messages[2]
        assert "think" not in messages[1][1]


def test_a_prompt_that_is_delivered_in_a_way_of_its_own_is_not_repeated(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=[replace(originals[0], raw=True)])
    with pytest.raises(DataError, match=f"prompt {originals[0].id} of family 'plain' cannot be repeated: .*; leave"):
        make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))


class Parrot:
    """Says how many messages it was shown; to the requests named in `silent` nothing at the second turn."""

    def __init__(self, silent: dict[str, Finish], breaks_at: int | None = None) -> None:
        self.silent, self.breaks_at = silent, breaks_at
        self.asked: list[Request] = []

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        assert sampling.n == 1
        for request in requests:
            self.asked.append(request)
            if len(self.asked) == self.breaks_at:
                raise EngineError("the server is away")
            turn = (len(request.messages) + 1) // 2
            if turn == 2 and request.id in self.silent:
                finish = self.silent[request.id]
                yield Completion(request.id, 0, None, None, finish, "lost" if finish is Finish.ERROR else None)
            else:
                yield Completion(request.id, 0, "hm", f"answer {turn}", Finish.STOP)

    def close(self) -> None:
        """Nothing is held."""


def test_a_conversation_without_an_answer_ends_there_and_its_row_says_so(
    make: Make, model: Artifact, originals: Sequence[Prompt], register: Register
) -> None:
    first, second, third = originals[:3]
    parrot = Parrot({first.id: Finish.LENGTH, second.id: Finish.ERROR})
    register(Kind.ENGINE, "transformers", opening(lambda _model: parrot))
    asked = tables(make, "prompts", prompts=originals[:3])
    config = repeat_config(turns=3, sampling=Sampling(n=4), system="be kind")
    found = make("repeat", lambda draft: repeat.repeat(draft, config, prompts=asked, model=model))
    rows = {row.prompt_id: row for row in found.rows(Response)}
    assert (rows[first.id].finish, rows[first.id].answer) == (Finish.LENGTH, None)
    assert (rows[second.id].finish, rows[second.id].error) == (Finish.ERROR, "lost")
    assert (rows[third.id].thinking, rows[third.id].answer) == ("hm", "answer 3")
    assert [len(request.messages) for request in parrot.asked] == [2, 2, 2, 4, 4, 4, 6]
    question = ("user", third.text)
    spoken = (("assistant", "answer 1"), question, ("assistant", "answer 2"), question)
    assert parrot.asked[-1].messages == (("system", "be kind"), question, *spoken)


def test_repetition_goes_on_where_it_was_interrupted(
    make: Make, model: Artifact, originals: Sequence[Prompt], register: Register
) -> None:
    engines = [Parrot({}, breaks_at=6), Parrot({})]
    opened = iter(engines)
    register(Kind.ENGINE, "transformers", opening(lambda _model: next(opened)))
    asked = tables(make, "prompts", prompts=originals[:4])

    def again() -> Artifact:
        return make("repeat", lambda draft: repeat.repeat(draft, repeat_config(), prompts=asked, model=model))

    with pytest.raises(EngineError, match="away"):
        again()
    finished = engines[0].asked[4].id
    assert {row.prompt_id for row in again().rows(Response)} == {prompt.id for prompt in originals[:4]}
    assert finished not in {request.id for request in engines[1].asked}
    assert len(engines[1].asked) == 2 * 3


def test_each_answer_is_verified_as_often_as_asked_with_the_probability_of_its_verdict(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals[:6])
    said = tables(make, "responses", responses=[response_to(prompt, "mix g1 g2 g3 .") for prompt in originals[:6]])
    config = verify.VerifyConfig(
        engine=ENGINE,
        sampling=Sampling(n=3, temperature=1.0, max_tokens=64, top_logprobs=20),
        verification=TASK,
        seed=0,
    )
    found = make("verify", lambda draft: verify.verify(draft, config, prompts=asked, responses=said, model=model))
    rows = found.rows(Verification)
    assert len(rows) == len({row.id for row in rows}) == 6 * 2 * 3
    assert {row.sample for row in rows} == {0, 1, 2}
    for row in rows:
        assert (row.p_unsafe is None) is (row.verdict is None)


def test_twins_of_the_microworld_find_each_other_in_every_disguise(make: Make) -> None:
    config = prompts_config(part="eval", attacks=["plain", "alias"], for_training=False)
    rows = make("prompts", lambda draft: prompts.prompts(draft, config)).rows(Prompt)
    pairs: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        pairs.setdefault((row.pair_id, row.family), []).append(row.harmful)
    assert all(sorted(sides) == [False, True] for sides in pairs.values())
    assert len(pairs) == len(rows) / 2
