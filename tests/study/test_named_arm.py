"""An arm of a run has one name in every command: RUN/ARM, RUN/VARIANT/ARM, and either with a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sinternal
from sinternal.errors import ModelError
from sinternal.integrations.hub.data import export_data
from sinternal.integrations.hub.models import export_model
from sinternal.queries import Query
from sinternal.records import Judgement, Response
from sinternal.study.named_arm import ArmOfRun, find_arm
from tests.commands import in_process


def test_a_variant_is_named_before_its_arm_and_the_first_is_told_where_none_is(attacked_run: Path) -> None:
    first, longer = (ArmOfRun.open(attacked_run / name) for name in ("sinternal", "longer/sinternal"))
    assert (first.variant, longer.variant, longer.seed) == ("plain", "longer", 0)
    assert "of variant 'plain', as none was named; there are: plain, longer" in str(first.note)
    assert longer.note is None
    assert [arm.figures().steps for arm in (first, longer)] == [2, 4]
    assert ArmOfRun.open(attacked_run / "longer/sinternal/0")[1:] == longer[1:]
    by_name = {
        name: find_arm(str(attacked_run / name)) for name in ("sinternal", "plain/sinternal", "longer/sinternal/0")
    }
    assert by_name["sinternal"] == by_name["plain/sinternal"] != by_name["longer/sinternal/0"]
    assert find_arm(str(attacked_run / "nosuch/sinternal")) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("odd/sinternal", "RUN/VARIANT/ARM|Variants: plain, longer"),
        ("longer/bass", "has no arm 'bass'"),
        ("longer/sinternal/7", "has no seed 7"),
        ("odd/sinternal/0", "has no variant 'odd'; it has: plain, longer"),
        ("longer/sinternal/0/1", "is no RUN.ARM: .* holds no run"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_what_there_is(attacked_run: Path, name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ArmOfRun.open(attacked_run / name)


def test_exports_of_a_variant_are_its_own_model_rows_and_card(attacked_run: Path, tmp_path: Path) -> None:
    arms = {variant: ArmOfRun.open(attacked_run / variant / "sinternal") for variant in ("plain", "longer")}
    for variant, arm in arms.items():
        export_model(arm, tmp_path / variant)
        export_data(arm, tmp_path / f"{variant}-data")
    weights = {(tmp_path / variant / "model.safetensors").read_bytes() for variant in arms}
    assert len(weights) == 2
    for variant, steps in (("plain", 2), ("longer", 4)):
        card, data = ((tmp_path / folder / "README.md").read_text() for folder in (variant, f"{variant}-data"))
        assert f"{steps} optimiser steps" in card
        assert f"variant {variant}" in card
        assert f"{steps} optimiser steps" in data
        assert f"variant {variant}" in data
    done = in_process("export", "model", "sinternal", str(tmp_path / "first"), cwd=attacked_run)
    assert "as none was named" in done.stderr + done.stdout


def test_an_arm_that_takes_no_part_in_the_first_variant_is_found_in_the_one_that_it_is_in(
    attacked_run: Path,
) -> None:
    opened = sinternal.Run.open(attacked_run)
    variants = {"plain": {"arms": ["base"]}, "longer": {}}
    run = replace(opened, recipe=opened.recipe.model_copy(update={"variants": variants}))
    assert run.variant_of("sinternal") == "longer"
    with pytest.raises(ModelError, match="takes no part in variant 'plain'; it does in: longer"):
        run.variant_of("sinternal", "plain")


def test_all_queries_of_attacks_leave_by_arm_seed_and_variant(attacked_run: Path) -> None:
    run = sinternal.Run.open(attacked_run)
    rows = list(sinternal.attack_queries(run, "sinternal", seed=0, variant="longer"))
    assert {row.attack for row in rows} == {"microworld-search adaptive", "microworld-search blind", "repetition"}
    keys = run.arm_keys("sinternal", 0, "longer")
    assert keys is not None
    for name, attacked in keys.attacked.items():
        artifact = run.store.find("adapt", attacked.queries)
        assert artifact is not None
        own = [row for row in rows if row.attack == name]
        assert {row.query.id for row in own} == {query.id for query in artifact.rows(Query)}
        assert {row.response.id for row in own if row.response} == {row.id for row in artifact.rows(Response)}
        assert {row.judgement.id for row in own if row.judgement} == {row.id for row in artifact.rows(Judgement)}
        broken = {row.query.prompt_id for row in own if row.safe is False}
        last = {row.query.prompt_id: row for row in own}
        assert broken == {prompt for prompt, row in last.items() if row.safe is False}, "an attack ends with success"
    assert rows != list(sinternal.attack_queries(run, "base", variant="longer"))
    assert len(list(sinternal.answers(run, "base", variant="longer"))) == len(list(sinternal.answers(run, "base")))
    for wrong in ({"seed": 5}, {"variant": "odd"}):
        with pytest.raises(ModelError):
            list(sinternal.attack_queries(run, "base", **wrong))
