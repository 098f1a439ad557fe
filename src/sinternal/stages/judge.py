"""Stage `judge`: label responses, by one judge. Another judge is another artifact: nothing is generated again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing

from sinternal.figures import calls
from sinternal.judges import Judge, label_each
from sinternal.records import Judgement, Prompt, Response
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft, Lookup, Table


def judge(draft: Draft, config: JudgePlugin, *, prompts: Artifact, responses: Artifact) -> None:
    """Write the table `judgements`: one row for each response, an empty one where the judge left a response out.

    Raises:
        DataError: the judge gives a judgement that it was not asked for, or gives one twice.
    """
    asked = responses.table(Response)
    ids = asked.columns("id")["id"].tolist()
    labeller: Judge = config.open()

    def make(finished: frozenset[str]) -> Iterator[Judgement]:
        items = with_prompts(asked, Lookup(prompts.table(Prompt)), lambda row: row.id not in finished)
        yield from label_each(labeller, config.name, items)

    with closing(labeller):
        labels = draft.stream(Judgement, make, total=len(ids), group=lambda row: row.response_id, groups=ids)
    columns = labels.columns("safe", "error", "quoted_controls")
    draft.counts["unlabelled"] = int((columns["safe"] < 0).sum())
    calls.keep(draft, labels, "labels")
    draft.counts["judge failed"] = sum(error is not None for error in columns["error"])
    draft.notes.extend(note_on_controls(columns["quoted_controls"].tolist()))


def with_prompts(
    responses: Table[Response], prompts: Lookup[Prompt], wanted: Callable[[Response], bool]
) -> Iterator[tuple[Prompt, Response]]:
    """Those of some responses that are wanted, in their order, and the prompt of each."""
    for batch in responses.batches():
        rows = [row for row in batch if wanted(row)]
        yield from zip(prompts.rows([row.prompt_id for row in rows]), rows, strict=True)


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
    version=5,
    cost=_cost,
    counted_as="judgements",
    asks=Judgement,
)
