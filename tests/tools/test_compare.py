"""Two finished runs, compared prompt by prompt."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sinternal.errors import DataError
from sinternal.report.comparison_tables import pair_table
from sinternal.store.sums import SUMS
from sinternal.study.run import Run
from sinternal.tools import differences as differing
from sinternal.tools.compare import compare, to_json
from tests.commands import sinternal

SMALL = [
    "--set=workers=1",
    "--set=prompts.train_limit=8",
    "--set=prompts.eval_limit=40",
    "--set=evaluation.stress=null",
    "--set=arms=[{name: base}]",
]


def run(cwd: Path, out: str, *more: str) -> None:
    done = sinternal("run", "quickstart", "--out", out, *SMALL, *more, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run(folder, "warm", "--set=seeds=[0]")
    run(folder, "cold", "--set=seeds=[0]", "--set=evaluation.sampling.temperature=0")
    run(folder, "later", "--set=seeds=[7]")
    return folder


def test_two_runs_are_paired_and_what_else_differs_is_told(runs: Path) -> None:
    (found,) = compare(runs / "warm", runs / "cold")
    assert {row.metric for row in found.comparisons} >= {"asr", "helpful"}
    for row in found.comparisons:
        assert row.n > 0
        assert row.low <= row.difference <= row.high
        assert row.detectable >= 0
        assert row.p_holm >= row.p - 1e-12
    assert any("differ in decoding" in caveat for caveat in found.caveats)
    assert json.dumps(to_json([found]), allow_nan=False)


def test_a_run_against_itself_shows_no_difference_and_what_it_could_have_shown(runs: Path) -> None:
    (found,) = compare(runs / "warm", runs / "warm")
    assert {row.metric for row in found.comparisons} >= {"asr", "helpful"}
    for row in found.comparisons:
        assert (row.difference, row.p, row.p_mcnemar) == (0, 1, 1)
        assert row.low < 0 < row.high
        assert row.detectable > 0.02
        assert row.provenance_a.judge == "oracle"
    assert found.caveats == ()


def test_pairs_without_a_label_are_counted_on_the_side_that_lacks_it(runs: Path, tmp_path: Path) -> None:
    """Where unsafe answers alone lose their label, the difference would vanish without a word."""
    shutil.copytree(runs / "warm", tmp_path / "blind", ignore=shutil.ignore_patterns("artifacts"))
    table = pq.read_table(tmp_path / "blind" / "measured.parquet")
    (tmp_path / "blind" / SUMS).unlink()  # what is edited is told otherwise
    asr = pa.array([None if unsafe else unsafe for unsafe in table["asr"].to_pylist()], pa.bool_())
    pq.write_table(table.set_column(table.column_names.index("asr"), "asr", asr), tmp_path / "blind/measured.parquet")
    (found,) = compare(runs / "warm", tmp_path / "blind")
    unsafe = Counter(
        split for split, hit in zip(table["split"].to_pylist(), table["asr"].to_pylist(), strict=True) if hit
    )
    missing = {row.split: row.missing_b for row in found.comparisons if row.metric == "asr"}
    assert missing["id"] == unsafe["id"] > 0
    rows = [row[0] for row in pair_table(found.comparisons).rows]
    told = [caveat for caveat in found.caveats if "have no label in" in caveat]
    assert told, "notes call a comparison what its row in the table is called"
    assert all(caveat.partition(":")[0] in rows for caveat in told)
    assert "ood" not in missing, "with the front skipped all were unsafe, so that none has a label left"
    without = "Attack success, OOD: fewer than two requests have a label in both runs"
    assert any(caveat.startswith(without) for caveat in found.caveats)


def test_each_variant_is_compared_and_measured_by_its_own_settings(tmp_path: Path) -> None:
    variants = "{warm: {}, cold: {evaluation.sampling.temperature: 0.0}}"
    judges = "[{name: refusal-strings}, {name: oracle}]"
    small = ("--set=seeds=[0]", "--set=prompts.eval_limit=6", f"--set=variants={variants}", f"--set=judges={judges}")
    run(tmp_path, "both", *small)
    found = compare(tmp_path / "both", tmp_path / "both")
    assert [one.a.variant for one in found] == ["warm", "cold"]
    scores = json.loads((tmp_path / "both" / "results.json").read_text())["scores"]
    decoding = {(s["variant"], s["provenance"]["decoding"]) for s in scores if s["metric"] == "asr"}
    assert decoding == {("warm", "temperature 1, 64 tokens"), ("cold", "greedy, 64 tokens")}
    # The first judge tells safety; it does not tell help, so that refusals and help are the second one's.
    first = {s["metric"]: s["provenance"]["judge"] for s in reversed(scores)}
    assert (first["asr"], first["helpful"], first["over_refusal"]) == ("refusal-strings", "oracle", "oracle")
    assert first["pairs_right"] == "refusal-strings and oracle"


def test_results_that_cannot_be_read_are_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "warm", tmp_path / "cut", ignore=shutil.ignore_patterns("artifacts"))
    whole = (tmp_path / "cut" / "results.json").read_text()
    (tmp_path / "cut" / "results.json").write_text(whole[:100])
    with pytest.raises(DataError, match="cannot be read as results"):
        compare(tmp_path / "cut", runs / "warm")
    (tmp_path / "cut" / "results.json").write_text(whole.replace('"version": 2', '"version": 99', 1))
    with pytest.raises(DataError, match="format version 99, this package reads 1 and 2"):
        compare(tmp_path / "cut", runs / "warm")


def test_runs_without_a_common_prompt_seed_and_sample_are_refused(runs: Path) -> None:
    with pytest.raises(DataError, match="no prompt, seed and sample in common"):
        compare(runs / "warm", runs / "later")


def test_a_missing_run_or_arm_is_named(runs: Path) -> None:
    with pytest.raises(DataError, match="no finished run to compare"):
        compare(runs / "warm", runs / "nowhere")
    with pytest.raises(DataError, match="has no arm 'basis'; it has: base"):
        compare(runs / "warm", runs / "cold", "basis")
    with pytest.raises(DataError, match="with --arm-a, too"):
        compare(runs / "warm", runs / "cold", None, "base")


def test_the_fields_in_which_two_recipes_differ_are_told_with_both_values(runs: Path) -> None:
    (found,) = compare(runs / "warm", runs / "cold")
    (row,) = found.differences
    assert (row.path, row.a, row.b, row.bears_on) == ("evaluation.sampling.temperature", "1.0", "0.0", "decoding")
    assert to_json([found])["differences"][0]["path"] == row.path
    printed = sinternal("compare", "warm", "cold", cwd=runs).stdout
    assert "evaluation.sampling.temperature\n    warm: 1.0\n    cold: 0.0" in printed
    assert "not comparable as they stand: different decoding" in printed
    (same,) = compare(runs / "warm", runs / "warm")
    assert same.differences == ()
    assert "are the same in both runs" in sinternal("compare", "warm", "warm", cwd=runs).stdout


def test_other_judges_data_and_specifications_are_called_not_comparable(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs / "warm", other, ignore=shutil.ignore_patterns("artifacts"))
    (other / SUMS).unlink()
    recipe = (other / "recipe.yaml").read_text()
    assert "- quoted\n  - absent\n" in recipe
    recipe = recipe.replace("judges:\n- name: oracle\n", "judges:\n- name: refusal-strings\n- name: oracle\n")
    (other / "recipe.yaml").write_text(recipe.replace("  - quoted\n  - absent\n", "  - absent\n"))
    table = pq.read_table(other / "measured.parquet")
    ids = table["prompt_id"].to_pylist()
    edited = pa.array(["elsewhere" if name == ids[0] else name for name in ids])
    pq.write_table(
        table.set_column(table.column_names.index("prompt_id"), "prompt_id", edited), other / "measured.parquet"
    )
    (found,) = compare(runs / "warm", other)
    by_path = {row.path: row for row in found.differences}
    assert (by_path["judges"].a, by_path["judges"].b) == ("oracle", "refusal-strings, oracle")
    assert by_path["evaluation.specification"].bears_on == "specification"
    prompts = by_path["prompts measured of microworld"]
    common = len(set(ids)) - 1
    assert prompts.a.startswith(f"{common + 1}, {common} of them in both; sha256 ")
    assert prompts.a != prompts.b
    unknown, *words = differing.in_words(found.differences, runs / "warm", other)
    assert unknown.startswith(f"{other} has no artifacts: ")
    assert [words_of.split(": ")[1].split(" (")[0] for words_of in words] == [
        "different judge",
        "different specification",
        "different benchmark data",
    ]


def test_other_contents_behind_the_same_names_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def manifest(key: str, **more: object) -> SimpleNamespace:
        fields = {"stage": "prompts", "version": 1, "config": {"path": "data.csv"}, "inputs": {}, "plugins": {}}
        return SimpleNamespace(manifest={**fields, "packages": {"torch": "2.1"}, "key": key, **more})

    mine = {"judge mine": "mine 1.0 (aa)"}
    ours = {"default/0/evaluation_prompts": manifest("a"), "default/0/arms/base/judgements/mine": manifest("j")}
    ours["default/0/arms/base/judgements/mine"].manifest["plugins"] = mine
    theirs = {"default/0/evaluation_prompts": manifest("b"), "default/0/arms/base/judgements/mine": manifest("k")}
    theirs["default/0/arms/base/judgements/mine"].manifest["plugins"] = {"judge mine": "mine 1.1 (bb)"}
    monkeypatch.setattr(differing, "_artifacts", lambda folder: ours if folder.name == "a" else theirs)
    found = {row.path: row for row in differing._of_artifacts(Path("a"), Path("b"))}
    assert found["files that 0/evaluation_prompts was made from"].bears_on == "benchmark data"
    assert found["plug-in judge mine"].a == "mine 1.0 (aa)"
    assert found["plug-in judge mine"].bears_on == "judge"
    assert len(found) == 2


def test_runs_that_share_a_store_lead_to_it_and_are_told_apart_by_what_was_behind_the_same_names(
    tmp_path: Path,
) -> None:
    for out, category in (("a", "potions"), ("b", "drinks")):  # no prompt is another one by that
        rows = [{"prompt": f"how to brew p{i} ?", "harmful": i % 2, "category": category} for i in range(4)]
        (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = "{path: mine.jsonl, columns: {harmful: harmful, category: category}}"
        source = f"--set=prompts.eval=[{{benchmark: file, options: {options}}}]"
        more = ("--set=seeds=[0]", "--set=prompts.eval_attacks=[plain]", "--set=judges=[{name: refusal-strings}]")
        run(tmp_path, out, "--store=shared", source, *more)
        assert (tmp_path / out / "artifacts").resolve() == tmp_path / "shared"
    (found,) = compare(tmp_path / "a", tmp_path / "b")
    assert {row.bears_on for row in found.differences} == {"benchmark data"}
    assert all(row.path.startswith("files that 0/") for row in found.differences)
    opened = Run.open(tmp_path / "b")
    assert Path(opened.model("base").path).is_dir(), "no --store has to be named"
    shutil.rmtree(tmp_path / "shared")
    words = list(
        differing.in_words(compare(tmp_path / "a", tmp_path / "b")[0].differences, tmp_path / "a", tmp_path / "b")
    )
    assert "a has no artifacts" in words[0]
