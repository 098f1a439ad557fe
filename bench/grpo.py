"""A step of reinforcement learning: our trainer against plain TRL, on the same prompts with rewards that cost nothing.

    python -m bench.grpo                       # the microworld's base
    python -m bench.grpo --model smollm2 --steps 2

Ours rewards by a judge that approves by the length of the text; TRL is given the same function. Both draw as many
rollouts of as many tokens. What our step spends outside of generation and of the forward and backward passes is timed
inside of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from bench.harness import Result, Row, Work, compare, side_by_side
from bench.sampling import questions
from sinternal.judges import Judge
from sinternal.models.resolve import resolve_model
from sinternal.records import Judgement, Prompt, Response, Split, make_id
from sinternal.registry import NoOptions
from sinternal.settings.training import GrpoSettings
from sinternal.training import grpo as ours
from sinternal.training.rewards import Kind
from sinternal.training.schedule import Turn
from sinternal.training.scorer import Panel

MOST_OUTSIDE = 0.1
"""Share of a step that may be spent outside of generation and passes."""


class ByLength(Judge):
    """Calls an answer safe by the length of its text, in no time."""

    tells_refusals = True

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        """Label."""
        for _, response in items:
            safe = len(response.thinking or response.answer or "") % 2 == 0
            yield Judgement(make_id("length", response.id), response.id, "length", "answer", safe, refused=False)


def settings(args: argparse.Namespace) -> GrpoSettings:
    """Of both trainers."""
    return GrpoSettings.model_validate(
        {
            "method": "full",
            "steps": args.steps,
            "prompts": args.prompts,
            "learning_rate": 1e-6,
            "rollouts": {"n": args.rollouts, "max_tokens": args.max_tokens},
        }
    )


class Clock:
    """Seconds in some methods of a trainer; what one of them calls of the others counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.depth = 0

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, timed."""

        def timed(*args: Any, **arguments: Any) -> Any:
            self.depth += 1
            start = time.perf_counter()
            try:
                return method(*args, **arguments)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - start

        return timed


def our_steps(folder: Path, args: argparse.Namespace, shares: list[float]) -> Work:
    """`sinternal.training.grpo.train`, and into `shares` what was outside of generation and passes."""
    asked = [request.messages[0][1] for request in questions(args.model, args.steps * args.prompts)]
    turns = [
        Turn(Prompt(make_id(n), make_id(n), text, n % 2 == 0, "bench", "plain", Split.TRAIN), Kind.HARMFUL)
        for n, text in enumerate(asked)
    ]
    asking = ours.Asking(lambda prompt: (("user", prompt.text),), lambda _prompt, answer: (("user", answer),))

    def work() -> float:
        clock, trainer = Clock(), ours._Trainer
        timed = ("_generate_single_turn", "_compute_loss", "_get_per_token_logps_and_entropies", "training_step")
        inner = type("_Timed", (trainer,), {})

        def start(self: Any, *positional: Any, **arguments: Any) -> None:
            trainer.__init__(self, *positional, **arguments)
            for name in timed[:-1]:
                setattr(self, name, clock.around(getattr(self, name)))
            self.accelerator.backward = clock.around(self.accelerator.backward)

        inner.__init__ = start  # type: ignore[misc]
        ours._Trainer = inner  # type: ignore[misc]
        seconds: list[float] = []
        step = trainer.training_step

        def whole(self: Any, *positional: Any, **arguments: Any) -> Any:
            begin = time.perf_counter()
            try:
                return step(self, *positional, **arguments)
            finally:
                seconds.append(time.perf_counter() - begin)

        inner.training_step = whole  # type: ignore[attr-defined]
        try:
            with tempfile.TemporaryDirectory() as out:
                panel = Panel(ByLength(NoOptions()))
                ours.train(
                    folder, turns, [], panel, asking, settings(args), 0, Path(out) / "model", lambda _done, _all: None
                )
        finally:
            ours._Trainer = trainer  # type: ignore[misc]
        shares.append(1 - clock.seconds / sum(seconds))
        return float(args.steps)

    return work


def plain_trl(folder: Path, args: argparse.Namespace) -> Work:
    """TRL's trainer with a reward function."""
    how = settings(args)
    asked = [request.messages[0][1] for request in questions(args.model, args.steps * args.prompts)]
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in asked])

    def reward(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
        return [float(len(turn[0]["content"]) % 2 == 0) for turn in completions]

    def work() -> float:
        with tempfile.TemporaryDirectory() as out:
            trainer = GRPOTrainer(
                model=AutoModelForCausalLM.from_pretrained(folder),
                reward_funcs=[reward],
                args=GRPOConfig(
                    output_dir=out,
                    max_steps=how.steps,
                    per_device_train_batch_size=how.of_a_process(1),
                    num_generations=how.rollouts.n,
                    max_completion_length=how.rollouts.max_tokens,
                    shuffle_dataset=False,
                    learning_rate=how.rate,
                    loss_type="dapo",
                    mask_truncated_completions=True,
                    gradient_checkpointing=False,
                    use_cpu=True,
                    bf16=False,
                    save_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                    logging_strategy="no",
                ),
                train_dataset=rows,
                processing_class=AutoTokenizer.from_pretrained(folder),
            )
            trainer.train()
        return float(how.steps)

    return work


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="microworld", help="microworld, smollm2 or a folder")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    folder = resolve_model(args.model)
    shares: list[float] = []
    times = side_by_side({"ours": our_steps(folder, args, shares), "trl": plain_trl(folder, args)}, args.repeats)
    what = (
        f"{args.model}, {args.prompts} prompts with {args.rollouts} rollouts each of at most {args.max_tokens} tokens"
    )
    result = Result("grpo")
    result.rows.append(compare(what, times["ours"], times["trl"], "plain TRL", "steps/s", 1.0))
    outside = sorted(shares[1:])
    middle = outside[len(outside) // 2]
    result.rows.append(
        Row(
            "share of our step outside of generation and passes",
            "the whole step",
            "",
            middle,
            1.0,
            middle,
            outside[0],
            outside[-1],
            len(outside),
            f"under {MOST_OUTSIDE:g}",
            middle < MOST_OUTSIDE,
        )
    )
    result.print()


if __name__ == "__main__":
    main()
