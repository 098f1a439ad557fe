"""Stage `judge`: label responses, by one judge. Another judge is another artifact: nothing is generated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.judges import Judge
from sinternal.records import Judgement, Prompt, Response, make_id
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft


def judge(draft: Draft, config: JudgePlugin, *, prompts: Artifact, responses: Artifact) -> None:
    """Write the table `judgements`: one row for each response, an empty one where the judge left a response out.

    Raises:
        DataError: the judge gives a judgement that it was not asked for, or gives one twice.
    """
    prompts_by_id = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    waiting = responses.rows(Response)
    labeller: Judge = config.open()

    def make(finished: frozenset[str]) -> Iterator[Judgement]:
        pending = {row.id: row for row in waiting if row.id not in finished}
        for label in labeller.judge((prompts_by_id[row.prompt_id], row) for row in list(pending.values())):
            if pending.pop(label.response_id, None) is None:
                raise DataError(
                    f"judge {config.name!r} gave a judgement of response {label.response_id!r} that it was not asked "
                    "for, or gave it twice: a judge gives one for each response; mend the judge"
                )
            yield label
        for identity in pending:
            empty = make_id("left out", config.name, identity)
            yield Judgement(empty, identity, config.name, labeller.judged, None, error="the judge left it out")

    with closing(labeller):
        rows = draft.stream(
            Judgement, make, total=len(waiting), group=lambda row: row.response_id, groups={row.id for row in waiting}
        )
    draft.counts["unlabelled"] = sum(row.safe is None for row in rows)
    calls.keep(draft, rows, "labels")
    draft.counts["judge failed"] = sum(row.error is not None for row in rows)
    draft.notes.extend(note_on_controls(row.quoted_controls for row in rows))


def note_on_controls(counts: Iterable[int]) -> Iterator[str]:
    """A line for the user if quoted texts spelled control tokens; `counts` has how many each of them spelled."""
    spelled = list(counts)
    if any(spelled):
        yield (
            f"{sum(map(bool, spelled))} of {len(spelled)} quoted texts spell control tokens ({sum(spelled)} in all): "
            "they were shown as plain text, by servers with a space inside"
        )


def _cost(_config: JudgePlugin, inputs: Mapping[str, int]) -> Costs:
    return Costs(inputs["responses"], inputs["responses"])


STAGE = Stage(
    name="judge",
    function=judge,
    version=4,
    cost=_cost,
    counted_as="judgements",
    asks=Judgement,
)
