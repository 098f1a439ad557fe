"""Stage `dataset`: the answers in a published data set, to be trained on as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from sinternal.benchmarks import Benchmark
from sinternal.errors import DataError
from sinternal.prompting.think import split_thinking
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.settings.plugins import BenchmarkPlugin
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft

UNCLOSED, NO_ANSWER, NO_THINKING = "the thinking never closes", "no answer", "answers without a thinking"


class DatasetConfig(BaseModel):
    """Which data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    """Name of a registered benchmark that holds answers."""
    options: dict[str, object] = {}
    """Its options."""
    part: str
    """Which of its parts."""


def dataset(draft: Draft, config: DatasetConfig, *, prompts: Artifact) -> None:
    """Write the table `responses`: the set's own thinking and answer for each of these prompts.

    Raises:
        DataError: the set holds no answers, or not one can be used.
    """
    counts = dict.fromkeys((UNCLOSED, NO_ANSWER, NO_THINKING), 0)
    plugin = BenchmarkPlugin(name=config.benchmark, options=config.options)
    answers = open_with_answers(plugin).answers(config.part)

    def rows() -> Iterator[Response]:
        for (prompt_id,) in prompts.values(Prompt, "id"):
            written = answers.get(prompt_id, "")
            thinking, answer = split_thinking(written, opened=False)
            if not answer:
                counts[UNCLOSED if thinking is not None and answer is None else NO_ANSWER] += 1
                continue
            counts[NO_THINKING] += not thinking
            yield Response(make_id("dataset", prompt_id, written), prompt_id, 0, thinking, answer, Finish.STOP)

    draft.write_sorted(rows(), Response)
    usable = draft.counts.pop("responses")
    draft.counts.update({reason: count for reason, count in counts.items() if count})
    if not usable:
        raise DataError(f"benchmark {config.benchmark!r}: none of its answers can be trained on ({draft.counts})")
    draft.counts["responses"] = usable


def open_with_answers(plugin: BenchmarkPlugin) -> Benchmark:
    """A benchmark that holds answers.

    Raises:
        DataError: it holds none.
    """
    benchmark: Benchmark = plugin.open()
    if not benchmark.holds_answers:
        raise DataError(
            f"benchmark {plugin.name!r} holds no answers to train on; take star-1, or `file` with "
            "options.columns.answer"
        )
    return benchmark


def _cost(_config: DatasetConfig, inputs: Mapping[str, int]) -> Costs:
    return Costs(inputs["prompts"])


STAGE = Stage(
    name="dataset",
    function=dataset,
    version=1,
    cost=_cost,
    counted_as="responses",
)
