"""The package as its users import it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sinternal
from sinternal.study.run import Start
from tests.commands import HANGS
from tests.servers import Body, serve


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> sinternal.Run:
    return sinternal.Run.open(shutil.copytree(tiny_run, tmp_path_factory.mktemp("api") / "tiny"))


def test_every_public_name_is_there_has_one_home_and_is_documented() -> None:
    assert sorted([*sinternal._HOMES, "__version__"]) == sorted(sinternal.__all__)
    assert set(sinternal.__all__) <= set(dir(sinternal))
    for name in sinternal._HOMES:
        assert getattr(sinternal, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        sinternal.runn  # noqa: B018


def test_a_run_gives_its_figures_its_report_and_its_models(finished: sinternal.Run) -> None:
    assert "<!DOCTYPE html>" in finished.report.read_text()
    assert finished.arms == ("base", "sinternal")
    scores = [score for score in finished.scores if score.metric == "asr"]
    assert {score.arm for score in scores} == {"base", "sinternal"}
    assert finished.results.finished
    assert finished.recipe.seeds == (0,)
    again = sinternal.Run.open(finished.folder)
    assert again.scores == finished.scores
    with sinternal.Verifier(str(finished.folder / "sinternal")) as verifier:
        verified = verifier.verify("how to brew p5 ?", "sorry i cannot .")
    assert isinstance(verified, sinternal.Verified)
    assert Path(finished.model("sinternal").path, "config.json").exists()
    with pytest.raises(sinternal.SInternalError, match="has no arm 'other'; it has: base, sinternal"):
        finished.model("other")


def test_a_run_gives_every_answer_with_its_prompt_and_its_labels(finished: sinternal.Run) -> None:
    answers = list(sinternal.answers(finished, "sinternal"))
    harmful = [answer for answer in answers if answer.prompt.harmful and answer.judgement.safe is not None]
    unsafe = sum(not answer.judgement.safe for answer in harmful)
    counted = [s for s in finished.scores if s.metric == "asr" and s.arm == "sinternal" and s.seed == 0]
    pooled = [s for s in counted if s.family is s.split is s.harm_shows is s.condition is s.benchmark is None]
    assert {answer.response.prompt_id for answer in answers} == {answer.prompt.id for answer in answers}
    assert {answer.judgement.judge for answer in answers} == {"oracle"}
    for score in pooled:
        assert score.value == pytest.approx(unsafe / len(harmful))
    with pytest.raises(sinternal.SInternalError, match="has no judge 'other'; it has: oracle"):
        next(sinternal.answers(finished, "base", judge="other"))
    with pytest.raises(sinternal.SInternalError, match="has no seed 7; it has: 0"):
        next(sinternal.answers(finished, "base", 7))


def test_two_runs_are_compared_by_themselves_or_their_folders(finished: sinternal.Run) -> None:
    by_run, by_folder = sinternal.compare(finished, finished), sinternal.compare(finished.folder, str(finished.folder))
    assert [pair.a.arm for pair in by_run] == [pair.a.arm for pair in by_folder] == ["base", "sinternal"]


def test_a_second_call_makes_nothing_and_whoever_listens_is_told(finished: sinternal.Run) -> None:
    news: list[object] = []
    again = sinternal.run(finished.recipe, out=finished.folder, listen=news.append)
    first, *events = news
    assert isinstance(first, Start)
    assert len(events) == len(first.plan.tasks)
    assert again.results == finished.results


def test_another_judge_labels_a_run_without_a_command_line(finished: sinternal.Run) -> None:
    judged = sinternal.judge(finished, "refusal-strings")
    assert judged.results.judges == ("oracle", "refusal-strings")
    sinternal.run(finished.recipe, out=finished.folder)  # as it was, for the other tests


def test_a_served_model_is_diagnosed(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(4)))
    options = f"{{path: {tmp_path / 'mine.jsonl'}, harmful: true, columns: {{text: q}}}}"

    def reply(body: Body) -> Body:
        return {"role": "assistant", "content": "Fine.\nVerdict: safe" if "Verdict" in str(body) else "Here you are."}

    with serve(reply=reply) as server:
        diagnosis = sinternal.diagnose(
            "served",
            base_url=server.url,
            engine_options={"concurrency": 2},
            overrides=[f"prompts.sources=[{{benchmark: file, options: {options}}}]", "prompts.attacks=[plain]"],
            out=tmp_path / "found",
            limits=sinternal.Limits(max_tokens=100_000),
        )
    assert diagnosis.settings.engine.options == {"base_url": server.url, "concurrency": 2}
    assert diagnosis.results["version"] == 2
    assert "diagnosis of served" in diagnosis.text.lower()
    assert diagnosis.page.is_file()


def test_types_arrive_at_whoever_checks_his_own_script() -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "mypy", str(root / "tests" / "typing_example.py")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout
