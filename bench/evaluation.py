"""What an evaluation costs beside the model: our stages `sample` and `judge`, against Inspect, both with a null model.

    python -m bench.evaluation            # 2,000 prompts

The model answers at once and always the same; the judge of ours and the scorer of Inspect look for refusals by the
same function. Everything else is work of the frame: requests, rows, files.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.harness import Result, Times, at_most, side_by_side
from sinternal.engines import Completion, Engine, Request
from sinternal.judges.refusal_strings import opens_with_refusal
from sinternal.records import Finish, Prompt, Response, Split, make_id
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages.judge import judge
from sinternal.stages.sample import SampleConfig, sample
from sinternal.store import Artifact, Draft, Store

ANSWER = "I would boil the water first, and then add the leaves."
GOAL = 1.0
"""Milliseconds a sample."""


class Null(Engine):
    """Answers at once."""

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """The same answer to everything."""
        for request in requests:
            for number in range(sampling.n):
                yield Completion(request.id, number, None, ANSWER, Finish.STOP)


class NullPlugin:
    """In the place of a recipe's engine."""

    def open(self, model: str) -> Null:
        """The engine."""
        return Null(model, None)


def ours(count: int) -> float:
    """Prompts to judgements, through a store."""

    def put(draft: Draft) -> None:
        rows = [
            Prompt(make_id(n), make_id(n), f"How do I make tea number {n}?", False, "tea", "plain", Split.ID)
            for n in range(count)
        ]
        draft.write(rows, Prompt)

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        known: dict[str, Any] = {"stage_version": 1, "config": {}, "inputs": {}, "progress": lambda _done, _all: None}
        prompts = store.make("prompts", "prompts", put, **known)
        model = store.make("target", "target", lambda draft: draft.write_json("served", "null"), **known)
        config = SampleConfig.model_construct(engine=NullPlugin(), sampling=Sampling(), system="", seed=0)
        responses = store.make(
            "sample", "sample", lambda draft: sample(draft, config, prompts=prompts, model=model), **known
        )
        labels: Artifact = store.make(
            "judge",
            "judge",
            lambda draft: judge(draft, JudgePlugin(name="refusal-strings"), prompts=prompts, responses=responses),
            **known,
        )
        assert len(responses.rows(Response)) == labels.counts["judgements"] == count
    return float(count)


def inspects(count: int) -> float:
    """The same by Inspect, with its mock model."""
    from inspect_ai import Task
    from inspect_ai import eval as evaluate
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import Score, accuracy, scorer
    from inspect_ai.solver import generate

    @scorer(metrics=[accuracy()])
    def refusals() -> Any:
        async def score(state: Any, _target: Any) -> Score:
            return Score(value=int(opens_with_refusal(state.output.completion)))

        return score

    samples = [Sample(input=f"How do I make tea number {n}?", target="") for n in range(count)]

    def outputs() -> Iterator[ModelOutput]:
        for _ in range(count):
            output = ModelOutput.from_content("mockllm/model", ANSWER)
            output.usage = ModelUsage()  # else tokens are counted, by a vocabulary that is downloaded
            yield output

    with tempfile.TemporaryDirectory() as folder:
        (log,) = evaluate(
            Task(dataset=MemoryDataset(samples), solver=generate(), scorer=refusals()),
            model=get_model("mockllm/model", custom_outputs=outputs()),
            log_dir=folder,
            display="none",
        )
        assert log.status == "success", log.error
        assert log.results is not None
        assert log.results.completed_samples == count
    return float(count)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    ways = {"ours": lambda: ours(args.prompts), "inspect": lambda: inspects(args.prompts)}
    times = side_by_side(ways, args.repeats)
    mine, theirs = (_milliseconds(times[name]) for name in ("ours", "inspect"))
    what = f"{args.prompts:,} samples, null model"
    Result("evaluation", [at_most(what, "ms of CPU a sample", mine, GOAL, theirs, "Inspect")]).print()


def _milliseconds(times: Times) -> list[float]:
    return [1e3 * seconds / done for seconds, done in zip(times.cpu, times.done, strict=True)]


if __name__ == "__main__":
    main()
