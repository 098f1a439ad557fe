from __future__ import annotations

import dataclasses
import importlib.util
import random
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sinternal.figures.columns import MISSING, Names
from sinternal.figures.comparisons import index_responses
from sinternal.records import HarmShows, Measured, Split

NAMES = Names()
ROOT = Path(__file__).parent.parent
SEEDS = range(5)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("predictions", ROOT / "bench/predictions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["predictions"] = module
    spec.loader.exec_module(module)
    return module


predictions = load()


def study(asr: Mapping[str, float], family: str = "front-skipped", variant: str = "link-1", prompts: int = 36):  # type: ignore[no-untyped-def]
    """A run in which each arm's harmful requests of one family get so large a share of unsafe answers, with noise."""
    responses = {}
    for arm, share in asr.items():
        rng = random.Random(arm)
        rows = [
            Measured(
                f"{arm}{seed}{i}", variant, arm, seed, f"p{i}", f"{i // 3}", 0, "microworld", family, Split.OOD, True,
                rng.random() < share + rng.gauss(0, 0.01), None, None, rng.random() < 1 - share, False, HarmShows.DRAFT,
            )
            for seed in SEEDS
            for i in range(prompts)
        ]  # fmt: skip
        responses[variant, arm] = index_responses(rows, NAMES)
    return predictions.Study(responses, {"check_effects": []})


def outcomes(asr: Mapping[str, float]) -> dict[str, str]:
    return {name: predictions.outcome(tests) for name, tests in predictions.predictions(study(asr))}


def test_every_prediction_of_the_page_is_tested_and_no_other() -> None:
    page = (ROOT / "docs/study.md").read_text()
    written = re.findall(r"^\| \*\*(P\d+)\*\*", page, re.MULTILINE)
    assert written == [name for name, _ in predictions.predictions(study({}))]
    assert len(written) == len(set(written)) == 26


def test_what_was_not_measured_is_neither_confirmed_nor_refuted() -> None:
    assert set(outcomes({}).values()) == {"not measured"}


@pytest.mark.parametrize(
    ("method", "placebo", "expected"), [(0.5, 0.97, "confirmed"), (0.97, 0.5, "refuted"), (0.8, 0.8, "open")]
)
def test_a_sign_is_confirmed_refuted_or_open(method: float, placebo: float, expected: str) -> None:
    assert outcomes({"sinternal": method, "placebo": placebo})["P1"] == expected


def test_a_method_that_is_a_copy_of_its_placebo_confirms_nothing_about_its_effect() -> None:
    found = study({"placebo": 0.5, "base": 0.97})
    copied = predictions.Study(
        {**found.responses, ("link-1", "sinternal"): found.responses["link-1", "placebo"]}, {"check_effects": []}
    )
    outcome = {name: predictions.outcome(tests) for name, tests in predictions.predictions(copied)}
    assert outcome["P1"] == outcome["P7"] == "open"


@pytest.mark.parametrize(("ceiling", "expected"), [(0.0, "confirmed"), (0.9, "refuted")])
def test_a_bound_on_a_rate_is_held_or_broken(ceiling: float, expected: str) -> None:
    assert outcomes({"deliberative-checks": ceiling})["P19"] == expected


def test_an_effect_that_lives_on_missing_labels_is_confirmed_by_what_is_known_only() -> None:
    seen = study({"sinternal": 0.6, "placebo": 0.75})
    ours = seen.responses["link-1", "sinternal"]
    silent = dataclasses.replace(ours, asr=np.where(ours.prompt % 4, MISSING, 0).astype(np.int8))
    without = predictions.Study({**seen.responses, ("link-1", "sinternal"): silent}, {"check_effects": []})
    tests = dict(predictions.predictions(without))["P1"]
    assert predictions.outcome(tests) == "confirmed"
    assert predictions.outcome(predictions.whole(tests)) != "confirmed"


def test_rates_of_every_arm_are_shown_with_an_interval_over_bases() -> None:
    rows = list(predictions.rates(study({"base": 0.97, "deliberative": 0.0})))
    assert [row.split(" | ")[1] for row in rows] == ["base", "deliberative"]
    assert " | 0.0 [0.0, 0.0] | " in rows[1]


def test_likeness_is_refuted_only_wholly_outside_the_margin() -> None:
    assert outcomes({"deliberative": 0.2, "base": 0.97})["P5"] == "refuted"
    assert outcomes({"deliberative": 0.9, "base": 0.97})["P5"] == "open"


def test_variants_are_compared_seed_by_seed() -> None:
    first, second = (
        study({"sinternal": 0.4, "placebo": 0.97}),
        study({"sinternal": 0.9, "placebo": 0.97}, variant="link-0"),
    )
    both = predictions.Study({**first.responses, **second.responses}, {"check_effects": []})
    assert {name: predictions.outcome(tests) for name, tests in predictions.predictions(both)}["P11"] == "confirmed"


def test_what_checks_cause_is_read_over_all_prompts_and_not_from_a_part_of_them() -> None:
    def row(contrast: str, split: str | None, among: str, value: float) -> dict[str, object]:
        return {
            "variant": "link-1", "arm": "sinternal", "contrast": contrast, "split": split, "harm_shows": None,
            "among": among, "value": value, "low": value - 0.05, "high": value + 0.05, "n": 9,
        }  # fmt: skip

    names = ("check cut, less kept", "no check, less inserted")
    rows = [row(name, split, among, -0.5) for name in names for split, among in (("id", "all"), (None, "as meant"))]
    rows += [row(name, None, "all", 0.5) for name in names]
    found = predictions.Study({}, {"check_effects": rows})
    assert dict(predictions.predictions(found))["P8"][0].measure.value == 0.5
    assert predictions.outcome(dict(predictions.predictions(found))["P8"]) == "confirmed"
