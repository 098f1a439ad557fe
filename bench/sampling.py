"""Sampling with the engine `transformers`, against `generate` in arrival order and continuous batching.

    python -m bench.sampling                                  # the microworld's base, 2,000 texts
    python -m bench.sampling --model smollm2 --texts 128      # after `sinternal fetch smollm2`

All draw at temperature 1 from the same prompts, of mixed lengths; texts end where the model ends them. What counts is
the number of tokens written in a second: each way has its own generator of random numbers, so the texts differ.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from math import ceil

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from bench import limits
from bench.harness import Result, Work, compare, side_by_side
from sinternal.engines import Request
from sinternal.engines.local_options import TransformersOptions
from sinternal.engines.transformers import TransformersEngine
from sinternal.settings.plugins import BenchmarkPlugin
from sinternal.settings.sampling import Sampling

SUBJECTS = ("tea", "bread", "rain", "bicycles", "the moon", "chess", "paper", "bees", "salt", "maps", "clocks", "wool")
FORMS = (
    "Name one thing about {0}.",
    "What is {0}? Answer in one sentence.",
    "Write a short paragraph about {0} and {1}, and say how they differ from {2}.",
    "Here is a list: {0}, {1}, {2}, {3}. Which of these would you take on a journey, and why? Think step by step.",
)
PAGE = 32
"""Tokens of a page of the library's cache."""


def questions(model: str, texts: int) -> list[Request]:
    """Prompts of mixed lengths, in no order."""
    rng = random.Random(0)
    if model == "microworld":
        rows = BenchmarkPlugin(name="microworld").open().prompts("train")
        asked = [row.text for row in rows]
    else:
        asked = [form.format(*rng.sample(SUBJECTS, 4)) for form in FORMS for _ in range(texts // len(FORMS) + 1)]
    rng.shuffle(asked)
    return [Request(str(number), (("user", asked[number % len(asked)]),)) for number in range(texts)]


def in_arrival_order(engine: TransformersEngine, requests: Sequence[Request], sampling: Sampling) -> Work:
    """`model.generate` on one batch after another, as the requests come."""
    generator, batch = engine.generator, engine.generator.slots
    prompts = [generator._row(request).encoded.ids for request in requests]
    tokenizer, ends = generator.tokenizer, generator.ends

    def work() -> float:
        written = 0
        for start in range(0, len(prompts), batch):
            inputs = tokenizer.pad({"input_ids": prompts[start : start + batch]}, return_tensors="pt")
            length = inputs["input_ids"].shape[1]
            with torch.inference_mode():
                output = generator.model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    generation_config=_settings(sampling, ends, tokenizer.pad_token_id),
                )
            written += sum(_length(ids, ends) for ids in output[:, length:].tolist())
        return float(written)

    return work


def continuous(engine: TransformersEngine, requests: Sequence[Request], sampling: Sampling) -> Work:
    """The continuous batching that the library brings, with room for as many texts side by side as we write.

    Left to itself it takes nine tenths of the machine's memory for its cache, anew with every call.
    """
    generator = engine.generator
    prompts = [generator._row(request).encoded.ids for request in requests]
    longest = max(map(len, prompts)) + sampling.max_tokens
    cache = ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=generator.slots * ceil(longest / PAGE),
        max_batch_tokens=2 * generator.slots,
    )
    settings = _settings(sampling, generator.ends, generator.tokenizer.pad_token_id)

    def work() -> float:
        outputs = generator.model.generate_batch(
            inputs=prompts, generation_config=settings, continuous_batching_config=cache, progress_bar=False
        )
        return float(sum(len(output.generated_tokens) for output in outputs.values()))

    return work


def ours(engine: TransformersEngine, requests: Sequence[Request], sampling: Sampling) -> Work:
    """The engine."""
    return lambda: float(sum(text.tokens or 0 for text in engine.generate(requests, sampling, 0)))


def _settings(sampling: Sampling, ends: Sequence[int], pad: int) -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=sampling.max_tokens,
        eos_token_id=list(ends),
        pad_token_id=pad,
    )


def _length(ids: Sequence[int], ends: Sequence[int]) -> int:
    return next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="microworld", help="microworld, smollm2 or a folder")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, help="texts side by side; by default the engine's own number")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    options = TransformersOptions(batch=args.batch)
    engine = TransformersEngine(args.model, options)
    requests, sampling = questions(args.model, args.texts), Sampling(temperature=1.0, max_tokens=args.max_tokens)
    ways = {"ours": ours(engine, requests, sampling), "arrival": in_arrival_order(engine, requests, sampling)}
    result = Result("sampling")
    try:
        continuous(engine, requests[:4], sampling)()
        ways["continuous"] = continuous(engine, requests, sampling)
    except Exception as error:
        result.notes.append(f"transformers' continuous batching does not run here: {str(error).splitlines()[0]}")
    times = side_by_side(ways, args.repeats, warm=False)
    what = f"{args.texts} texts by {args.model}"
    lengths = [generator_length(engine, request) for request in requests[:200]]
    context = int(sum(lengths) / len(lengths)) + int(times["ours"].done[0] / args.texts / 2)
    limit = limits.decoding(engine.generator.model, engine.generator.slots, context)
    names = {"arrival": ("`generate` in arrival order", 1.5), "continuous": ("its continuous batching", 1.0)}
    for name, (title, goal) in names.items():
        if name in times:
            result.rows.append(
                compare(what, times["ours"], times[name], title, "tokens/s", goal, by_cpu=False, limit=limit)
            )
    result.notes.append("vLLM is measured apart, by `bench.vllm`")
    result.print()


def generator_length(engine: TransformersEngine, request: Request) -> int:
    """Tokens of a prompt."""
    return engine.generator._row(request).tokens


if __name__ == "__main__":
    main()
