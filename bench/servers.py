"""SmolLM2 on the CPU through the engines `llamacpp` and `openai`, against the server asked by the barest client.

    sinternal fetch smollm2
    python -m bench.servers

The bare client posts the same bodies with the same number of calls under way, and only counts tokens.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

import httpx2

from bench.harness import Result, Work, compare, side_by_side
from bench.sampling import questions
from sinternal.engines import Engine, Request, request_seed
from sinternal.engines.llamacpp import LlamaCppEngine, LlamaCppOptions
from sinternal.engines.openai import SEEDS, OpenAIEngine
from sinternal.engines.openai_fields import first_dialect
from sinternal.engines.openai_options import OpenAIOptions
from sinternal.settings.sampling import Sampling

GOAL = 0.95


def bare(address: str, key: str, requests: Sequence[Request], sampling: Sampling, concurrency: int) -> Work:
    """The server alone."""
    dialect = first_dialect({}, stream=False, hosted_by_openai=False)

    def body(request: Request) -> dict[str, Any]:
        return {
            "model": "model",
            "messages": [{"role": role, "content": content} for role, content in request.messages],
            **dialect.write(sampling, request_seed(0, request.id, 0) % SEEDS, chat=True),
        }

    async def ask_all() -> float:
        places = asyncio.Semaphore(concurrency)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=600, trust_env=False) as client:

            async def ask(request: Request) -> int:
                async with places:
                    reply = await client.post("/v1/chat/completions", json=body(request))
                    return int(reply.json()["usage"]["completion_tokens"])

            return float(sum(await asyncio.gather(*map(ask, requests))))

    return lambda: asyncio.run(ask_all())


def through(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> Work:
    """One of our engines."""
    return lambda: float(sum(text.tokens or 0 for text in engine.generate(requests, sampling, 0)))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    llamacpp = LlamaCppEngine("smollm2", LlamaCppOptions())
    requests, sampling = questions("smollm2", args.texts), Sampling(temperature=1.0, max_tokens=args.max_tokens)
    address, key, parallel = llamacpp.server.listening_address, llamacpp.client.server._key, llamacpp.options.parallel
    options = OpenAIOptions(base_url=f"{address}/v1", concurrency=parallel)
    ways = {
        "llamacpp": through(llamacpp, requests, sampling),
        "openai": through(OpenAIEngine("model", options, key), requests, sampling),
        "bare": bare(address, key, requests, sampling, parallel),
    }
    times = side_by_side(ways, args.repeats)
    llamacpp.close()
    result = Result("servers")
    for name in ("llamacpp", "openai"):
        what = f"SmolLM2, {args.texts} texts, engine `{name}`"
        result.rows.append(
            compare(what, times[name], times["bare"], "the server alone", "tokens/s", GOAL, by_cpu=False)
        )
    result.print()


if __name__ == "__main__":
    main()
