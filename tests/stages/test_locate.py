"""Stage `locate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest

from sinternal.errors import DataError
from sinternal.records import CheckPlace, Prompt, Response, ThinkingFate
from sinternal.registry import NoOptions
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages import locate
from sinternal.store import Artifact
from sinternal.world import language as say
from sinternal.world.facts import potion_of
from sinternal.world.oracle import OracleJudge
from tests.conftest import response_to
from tests.stages.shared import ORACLE, Make, tables


def located(make: Make, rows: Sequence[tuple[Prompt, Response]], **config: object) -> Artifact:
    prompts = list({prompt.id: prompt for prompt, _ in rows}.values())
    inputs = {
        "prompts": tables(make, "prompts", prompts=prompts),
        "responses": tables(make, "sample", responses=[response for _, response in rows]),
    }
    settings = locate.LocateConfig.model_validate({"judge": ORACLE, "seed": 0, **config})
    return make("locate", lambda draft: locate.locate(draft, settings, **inputs))


def harmful(originals: Sequence[Prompt], n: int) -> list[Prompt]:
    return [row for row in originals if row.harmful][:n]


DRAFT = "draft p5 : mix g1 g2 g3 ."


def test_a_check_is_found_without_the_decision_and_a_place_for_one_before_it(
    make: Make, originals: Sequence[Prompt]
) -> None:
    front, reviewed, unchecked = harmful(originals, 3)
    check = say.check(potion_of(front))
    review = say.review(say.REVIEW, say.safety_review(potion_of(reviewed)))
    rows = [
        (front, response_to(front, "sorry i cannot .", thinking=f"{check} so refuse .")),
        (reviewed, response_to(reviewed, "sorry i cannot .", thinking=f"{DRAFT} {review} so refuse .")),
        (unchecked, response_to(unchecked, "mix g1 g2 g3 .", thinking=f"{DRAFT} so answer .")),
    ]
    places = {row.response_id: row for row in located(make, rows).rows(CheckPlace)}
    before, behind, absent = (places[response.id] for _, response in rows)
    assert rows[0][1].thinking[before.start : before.end] == check  # type: ignore[index]
    assert (before.place, before.checked, before.other_opening) == (None, True, " draft")
    assert rows[1][1].thinking[behind.start : behind.end] == review  # type: ignore[index]
    assert (behind.place, behind.checked, behind.other_opening) == (None, True, " review : p5 needs")
    assert rows[2][1].thinking[absent.place :] == " so answer ."  # type: ignore[index]
    assert (absent.start, absent.checked) == (None, False)
    assert (absent.opening, absent.other_opening) == (" review : p5 is", " review : p5 needs")


def test_a_thinking_that_drafts_nothing_has_neither_a_check_nor_a_place_for_one(
    make: Make, originals: Sequence[Prompt]
) -> None:
    (prompt,) = harmful(originals, 1)
    (row,) = located(make, [(prompt, response_to(prompt, "sorry i cannot .", thinking="so refuse ."))]).rows(CheckPlace)
    assert (row.checked, row.place, row.opening, row.other_opening) == (False, None, "", "")


def test_benign_requests_and_thinkings_that_never_closed_are_left_out_and_the_latter_counted(
    make: Make, originals: Sequence[Prompt]
) -> None:
    one, two, three = harmful(originals, 3)
    benign = next(row for row in originals if not row.harmful)
    closed = replace(three, prefill="<think>\n\n</think>\n\n")
    rows = [
        (one, response_to(one, "sorry i cannot .", thinking="so refuse .")),
        (two, response_to(two, None, thinking="draft p5 :")),
        (closed, response_to(closed, "mix g1 .", thinking="")),
        (benign, response_to(benign, "mix g1 g2 g3 .")),
    ]
    artifact = located(make, rows)
    assert [row.response_id for row in artifact.rows(CheckPlace)] == [rows[0][1].id]
    assert artifact.counts[ThinkingFate.NOT_WHOLE] == 2


def test_a_limit_draws_the_same_requests_whatever_was_answered(make: Make, originals: Sequence[Prompt]) -> None:
    prompts = harmful(originals, 12)

    def drawn(thinking: str) -> set[str]:
        rows = [(p, response_to(p, "mix g1 g2 g3 .", i, thinking)) for p in prompts for i in range(2)]
        by_id = {response.id: prompt.id for prompt, response in rows}
        return {by_id[row.response_id] for row in located(make, rows, limit=5).rows(CheckPlace)}

    assert len(drawn(f"{DRAFT} so answer .")) == 5


class Wrong(OracleJudge):
    """Tells of places that are not there."""

    def locate_checks(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[CheckPlace]:
        for _, response in items:
            yield CheckPlace(response.id, response.id, "wrong", start=3, end=10_000)


class Silent(OracleJudge):
    """Leaves out all."""

    def locate_checks(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[CheckPlace]:
        list(items)
        yield from ()


def test_a_place_that_is_not_in_the_thinking_is_the_judges_mistake(
    make: Make, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JudgePlugin, "open", lambda _: Wrong(NoOptions()))
    (prompt,) = harmful(originals, 1)
    with pytest.raises(DataError, match="fix the judge"):
        located(make, [(prompt, response_to(prompt, "mix g1 ."))])


@pytest.mark.parametrize(
    "odd",
    [
        {"start": 5, "end": 5},
        {"start": -1, "end": 2},
        {"start": 0, "end": None},
        {"start": 0, "end": 3, "place": 3},
        {"end": 3},
        {"place": -1},
        {"place": 99},
        {"place": 1, "error": "unreadable"},
        {"start": 0, "end": 2, "error": "unreadable"},
    ],
)
def test_what_a_judge_may_not_say(odd: dict[str, int | str | None]) -> None:
    assert not CheckPlace("c", "r", "judge", **odd).fits("a check")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [{"start": 0, "end": 7}, {"place": 0}, {"place": 7}, {}, {"error": "timed out"}])
def test_what_a_judge_may_say(place: dict[str, int | str]) -> None:
    assert CheckPlace("c", "r", "judge", **place).fits("a check")  # type: ignore[arg-type]
    assert CheckPlace("c", "r", "judge", **place).fits(None) == ("end" not in place and place.get("place", 0) == 0)  # type: ignore[arg-type]


def test_a_judge_that_leaves_a_thinking_out_has_not_told_that_there_is_no_check(
    make: Make, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JudgePlugin, "open", lambda _: Silent(NoOptions()))
    (prompt,) = harmful(originals, 1)
    artifact = located(make, [(prompt, response_to(prompt, "mix g1 ."))])
    (row,) = artifact.rows(CheckPlace)
    assert (row.checked, row.place, row.error) == (None, None, "the judge left it out")
    assert artifact.counts["judge failed"] == 1
