"""Work that is killed half-way: an artifact whose rows a server writes in batches.

Run as `python -m tests.engines.batch_work ADDRESS STORE`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sinternal.engines import Request
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.openai_options import OpenAIOptions
from sinternal.records import Response
from sinternal.settings.sampling import Sampling
from sinternal.stages.sample import to_responses
from sinternal.store import Artifact, Draft, Store

REQUESTS = 12
STAY = "stay"
"""As a third argument: go to sleep when a few replies are there."""
A_FEW = 5


def work(url: str, root: Path, *, stay: bool = False) -> Artifact:
    """Make the artifact, or go on with it."""
    options = OpenAIOptions.model_validate(
        {
            "base_url": url,
            "max_retries": 0,
            "patience": 0,
            "batch": {"poll": 0.05, "max_requests": 6},
            "price": {"read": 1, "written": 1},
        }
    )

    def build(draft: Draft) -> None:
        def make(finished: frozenset[str]) -> Iterator[Response]:
            asked = (Request(f"r{i}", (("user", f"number {i}"),)) for i in range(REQUESTS) if f"r{i}" not in finished)
            engine = OpenAIEngine("served", options)
            for number, row in enumerate(to_responses(engine.generate(asked, Sampling(max_tokens=32), 0))):
                yield row
                if stay and number == A_FEW:
                    print(STAY, flush=True)
                    time.sleep(600)

        draft.stream(Response, make, total=REQUESTS, group=lambda row: row.prompt_id)

    return Store(root).make(
        "sample", "key", build, stage_version=1, config={}, inputs={}, progress=lambda _done, _total: None
    )


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), stay=STAY in sys.argv)
