from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bench.invented import make_report, with_transcript

from sinternal.figures.metric import ASR
from sinternal.figures.study import Arm, LearningCurve
from sinternal.figures.transcripts import CRITIQUE
from sinternal.report.caveats import caveats
from sinternal.report.page import copy_page
from sinternal.report.plots import safety_against_helpfulness
from sinternal.report.study_page import render, render_html

ATTACK = "<script>document.title = 'owned'</script></script><img src=x onerror=\"document.title = 'owned'\">"


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def unpacked(page: str, beside: Mapping[str, str] | None = None) -> dict[str, list[object]]:
    """The transcripts of a page by column: choices as words, and texts, which may lie in files beside it."""

    def content(packed: str) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(packed)))

    found = re.search(r'id="packed">([A-Za-z0-9+/=]*)</script>', page)
    assert found
    index = content(found[1])
    columns: dict[str, list[object]] = {
        name: [column["values"][number] or None for number in column["of"]] for name, column in index["columns"].items()
    }
    texts = re.findall(r'class="texts" id="texts-\d+">([A-Za-z0-9+/=]*)</script>', page)
    for file in index["files"] or ():
        texts.append((beside or {})[f"{file['name']}.css"].split('"')[1])
    for chunk in map(content, texts):
        for name, rows in chunk.items():
            columns.setdefault(name, []).extend(rows)
    return columns | {"id": index["ids"]}


def test_model_text_is_escaped_in_the_page() -> None:
    data = replace(
        with_transcript(make_report(), ATTACK), recipe_yaml=ATTACK, facts={ATTACK: ATTACK}, description=ATTACK
    )
    page = render_html(replace(data, arms=(replace(data.arms[0], trained_on=ATTACK), *data.arms[1:])))
    assert ATTACK not in page
    assert "&lt;script&gt;document.title" in page
    scripts = [attributes for tag, attributes in Elements(page).found if tag == "script"]
    assert [one.get("type") for one in scripts].count("text/plain") == len(scripts) - 1
    assert not any(tag == "img" for tag, _ in Elements(page).found)


def test_names_are_escaped_in_plots() -> None:
    data = make_report()
    arms = tuple(replace(arm, name=arm.name if i else ATTACK) for i, arm in enumerate(data.arms))
    scores = tuple(replace(s, arm=ATTACK if s.arm == "base" else s.arm) for s in data.scores)
    effects = tuple(replace(e, base=e.base and replace(e.base, other=ATTACK)) for e in data.effects)
    page = render_html(replace(data, arms=arms, scores=scores, comparisons=(), effects=effects))
    assert ATTACK not in page
    assert page.count("&lt;script&gt;document.title") > len(arms)


def test_transcripts_come_back_as_they_were() -> None:
    data = with_transcript(make_report(), ATTACK)
    columns = unpacked(render_html(data))
    assert columns["answer"] == [row.answer for row in data.transcripts]
    assert columns["answer"][0] == ATTACK
    assert {len(column) for column in columns.values()} == {len(data.transcripts)}
    assert len(set(columns["id"])) == len(data.transcripts)


def test_half_a_surrogate_pair_in_a_transcript_does_not_stop_the_report() -> None:
    assert unpacked(render_html(with_transcript(make_report(), "odd \ud800 text")))["answer"][0] == "odd ? text"


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = render_html(make_report())
    for tag, attributes in Elements(page).found:
        assert not attributes.get("src"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    assert "@import" not in page
    assert "url(" not in page


def test_the_same_run_gives_the_same_page() -> None:
    assert render_html(make_report()) == render_html(make_report())


def test_the_page_warns_when_arms_were_trained_unequally() -> None:
    data = make_report()
    assert "All trained arms had the same number" in render_html(data)
    unequal = replace(data, arms=(*data.arms[:3], replace(data.arms[3], steps=300)))
    page = render_html(unequal)
    assert "the trained arms differ in examples or optimiser steps" in page
    assert "All trained arms had the same number" not in page


def test_a_run_without_any_figure_still_gives_a_page() -> None:
    empty = replace(make_report(), scores=(), comparisons=(), funnel=(), losses=(), transcripts=(), timing={}, facts={})
    page = render_html(empty)
    assert "<svg" not in page.split("<main>")[1].replace('<svg class="arm', "")
    assert 'title="not measured"' in page


def test_every_variant_has_its_plots() -> None:
    page = render_html(make_report(variants=("coupled", "uncoupled")))
    assert page.count("<strong>Attack success by family and arm</strong>") == 2
    assert page.count("<title>Training loss</title>") == 2


def test_an_arm_whose_rate_has_only_bounds_is_drawn_as_these_and_the_frontier_leaves_it_out() -> None:
    data = make_report()
    scores = [
        replace(row, value=None, low=None, high=None, missing=9, lowest=0.1, highest=0.4)
        if (row.arm, row.metric) == ("sinternal", ASR.name)
        else row
        for row in data.scores
    ]
    whole, some = (
        str(safety_against_helpfulness(rows, data.arms, data.seeds, "default")) for rows in (data.scores, scores)
    )
    assert "bounds" not in whole
    assert 'class="bounds"' in some
    assert "sinternal: helpful" in some
    assert "ASR 10.0 to 40.0 %" in some
    assert "the frontier leaves them out" in some


def test_the_drawn_funnel_leaves_out_zeros_which_the_folded_table_behind_it_has() -> None:
    data = make_report()
    funnel = (*data.funnel, *(replace(row, reason="was none", rows=0) for row in data.funnel[:1]))
    page = render_html(replace(data, funnel=funnel))
    begin = page.index("The same seed by seed, with what was 0")
    drawn, folded = page[page.rindex("From prompts to training examples", 0, begin) : begin], page[begin:]
    folded = folded[: folded.index("</details>")]
    assert page[:begin].endswith("<details><summary>"), "it is folded"
    for reason in (row.reason for row in funnel):
        assert (reason in drawn) == (reason != "was none"), reason
        assert reason in folded, reason


def test_a_critique_that_was_dropped_is_a_transcript_with_the_reason_as_its_fate() -> None:
    data = make_report()
    why = "expert gave no readable verdict"
    dropped = replace(data.transcripts[0], kind=CRITIQUE, outcome=why, prompt_id="")
    page = render_html(replace(data, transcripts=(*data.transcripts, dropped)))
    assert unpacked(page)["fate"] == [*[None] * len(data.transcripts), why]
    assert unpacked(page)["outcome"][-1] is None


def test_verdicts_that_collapse_and_a_gap_to_the_judge_are_seen_in_the_curves() -> None:
    data = make_report()
    points = {"unsafe_verdicts": ((1, 0.4), (2, 0.0)), "balanced_accuracy": ((1, 0.7), (2, 0.5))}
    gap = {"self_judge_gap": ((1, -0.2), (2, 0.6))}
    curve = LearningCurve("default", "sinternal", 0, "rollouts", {**points, **gap})
    page = render_html(replace(data, curves=(curve,)))
    for title in ("Verdicts that say unsafe", "Balanced accuracy of verdicts", "policy less judge"):
        assert title in page
    (plot,) = [plot for plot in re.findall(r"<figure.*?</figure>", page, re.DOTALL) if "policy less judge" in plot]
    (line,) = re.findall(r'<polyline[^>]*points="([^"]*)"', plot)
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert all(16 <= height <= 240 for height in heights), "a gap below 0 is inside the plot, too"


def test_arms_that_were_rewarded_otherwise_need_not_have_had_as_many_rollouts() -> None:
    data = make_report()
    rewarded = (
        Arm("base+grpo", "rewards of its own rollouts", 0, 60, start="base", rollouts=7680),
        Arm("verify-rl", "rewards of its verdicts alone", 0, 35, rollouts=4480),
    )
    assert "arms differ in examples or optimiser steps" not in render_html(replace(data, arms=(*data.arms, *rewarded)))
    other = replace(rewarded[0], name="tuned+grpo", start="sinternal", rollouts=100)
    assert "arms differ in examples or optimiser steps" in render_html(
        replace(data, arms=(*data.arms, *rewarded, other))
    )


def test_the_report_opens_with_verdicts_that_have_collapsed_and_says_in_how_many_seeds() -> None:
    data = make_report()
    fallen = {"unsafe_verdicts": ((8, 0.0), (9, 0.0)), "balanced_accuracy": ((8, 0.5), (9, 0.5))}
    points = {0: {"balanced_accuracy": ((8, 0.9), (9, 0.9))}, 1: fallen}
    curves = tuple(LearningCurve("default", "sinternal", seed, "rollouts", figures) for seed, figures in points.items())
    told = [note for note in caveats(replace(data, curves=curves)) if "verdicts have collapsed" in note]
    assert told == [
        "sinternal, in 1 of 2 seeds: its verdicts have collapsed: at the end 100% of them say `safe`, whatever the "
        "answer (balanced accuracy 0.50; a guess has 0.50) (seed 1)"
    ]
    assert not [note for note in caveats(data) if "verdicts have collapsed" in note]


def test_texts_that_are_too_many_lie_beside_the_page_and_go_with_it(tmp_path: Path) -> None:
    data = with_transcript(make_report(prompts=4), "too many")
    whole, split = render(data), render(data, most=0)
    assert not whole.texts
    assert "too many" not in "".join(split.texts.values())
    assert unpacked(split.html, split.texts) == unpacked(whole.html)
    assert "style-src 'unsafe-inline' 'self'" in split.html
    made, run = tmp_path / "made", tmp_path / "run"
    for folder in (made, run):
        folder.mkdir()
    split.write(made / "report.html")
    (run / "report-texts").mkdir()
    (run / "report-texts" / "0000.css").write_text("of an earlier page")
    beside = copy_page(made.joinpath, "report.html", run)
    assert sorted(beside) == sorted(f"report-texts/{name}" for name in split.texts)
    assert sorted(file.name for file in (run / "report-texts").iterdir()) == sorted(split.texts)
    whole.write(made / "report.html")
    assert copy_page(made.joinpath, "report.html", run) == []
    assert [file.name for file in run.iterdir()] == ["report.html"]
