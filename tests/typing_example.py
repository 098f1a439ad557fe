"""What a user writes against the public names; a test runs mypy over it, so that it shows whether types arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_type

import sinternal
from sinternal import Judge, Judgement, Prompt, Recipe, Response, Run, Verdict


def measure(folder: Path) -> float | None:
    recipe = sinternal.load_recipe("quickstart", ["seeds=[0]"])
    assert_type(recipe, Recipe)
    finished = sinternal.run(recipe, out=folder, workers=1)
    assert_type(finished, Run)
    with sinternal.Verifier(finished.model("sinternal").path) as verifier:
        assert_type(verifier.verify("how?", "so").verdict, Verdict | None)
    compared = sinternal.compare(finished, "runs/other")
    assert_type(compared[0], sinternal.ArmComparison)
    assert_type(sinternal.__version__, str)
    return finished.scores[0].value


class Mine(Judge):
    judged = "answer"

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        for _, response in items:
            yield Judgement(response.id, response.id, "mine", "answer", safe=True)

    def close(self) -> None: ...


def as_judge(mine: Mine) -> Judge:
    return mine


sinternal.run("quickstart", workers="two")  # type: ignore[arg-type]  # a mistake that a checker has to see
