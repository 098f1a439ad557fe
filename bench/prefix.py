"""One specification in many prompts: with its beginning read once, against every prompt read from its first token.

    python -m bench.prefix                     # 1,000 tokens of specification in 1,000 prompts, few tokens written
    python -m bench.prefix --model smollm2 --prompts 64

Reading is what this is about, so every text is eight tokens long. The engine `transformers` shares what prompts begin
with by itself; the peer is the same engine with that switched off.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.harness import Result, Work, compare, side_by_side
from bench.llama import random_llama
from sinternal.engines import Request, decoding, transformers_generation
from sinternal.engines.local_options import TransformersOptions
from sinternal.engines.transformers import TransformersEngine
from sinternal.settings.sampling import Sampling

GOAL = 2.0


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="random", help="random (a small Llama), smollm2 or a folder")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=1000, help="of the specification")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = random_llama(Path(folder)) if args.model == "random" else args.model
        engine = TransformersEngine(model, TransformersOptions())
        requests = prompts(engine, args.prompts, args.tokens)
        ways = {"ours": reading(engine, requests), "apart": reading(engine, requests, share=False)}
        times = side_by_side(ways, args.repeats, warm=False)
    result = Result("prefix")
    what = f"{args.tokens:,} tokens of specification in {args.prompts:,} prompts, {args.model}"
    result.rows.append(compare(what, times["ours"], times["apart"], "no prefix reuse", "prompts/s", GOAL))
    result.print()


def prompts(engine: TransformersEngine, count: int, tokens: int) -> list[Request]:
    """Prompts that begin with the same text of about so many tokens."""
    sentence = "how to brew p5 ? is p1 ? "
    length = len(engine.generator.tokenizer(sentence)["input_ids"])
    rules = sentence * round(tokens / length)
    return [
        Request(str(n), (("user", f"{rules} {'is p2 ? ' * (n % 7)} how to brew p{n % 20} ?"),)) for n in range(count)
    ]


def reading(engine: TransformersEngine, requests: Sequence[Request], *, share: bool = True) -> Work:
    """The engine, with or without what it shares."""

    def apart(texts: Sequence[Any]) -> list[Any]:
        return sorted(texts, key=lambda text: len(text.prompt))

    order: Callable[[Sequence[Any]], list[Any]] = decoding.in_order if share else apart

    def work() -> float:
        original, transformers_generation.in_order = transformers_generation.in_order, order  # type: ignore[assignment]
        try:
            return float(len(list(engine.generate(requests, Sampling(temperature=1.0, max_tokens=8), 0))))
        finally:
            transformers_generation.in_order = original

    return work


if __name__ == "__main__":
    main()
