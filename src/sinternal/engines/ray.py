"""Text from many machines: Ray Data hands batches of requests to actors, each with one of our other engines inside.

The actors hold an engine of ours, not Ray's own `ray.data.llm` processor, because templates, prefills and seeds then
stay in one place: a sample is the same here as from the worker engine alone.

Requests and completions travel as JSON text, so that Arrow has no types to guess. So do errors: Ray would wrap an
actor's exception in pages of traceback, and the user would look for the one line.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sinternal import budget, pending
from sinternal.budget import NOTHING, Spent
from sinternal.columns import from_columns
from sinternal.engines import Completion, Engine, Request, TokenLogprobs
from sinternal.engines.orphans import Guard, starting_guarded
from sinternal.errors import EngineError, SInternalError
from sinternal.models.resolve import is_model
from sinternal.records import Finish
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling

WINDOW = 65_536
"""Requests handed to Ray at a time. Each window starts new actors, and has to outweigh the opening of the model."""

LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""A variable of Ray's, read as it is imported: at 0, which is the default on two systems, all processes of a cluster
that is started here listen on the loopback interface."""

RESTARTS = 4
"""How often an actor that dies is started again, and a batch of requests sent again. Ray itself would do so for ever:
of requests that fill the memory no run would end."""
OVER_AND_OVER = (
    f"engine ray: an actor died {RESTARTS + 1} times at the same requests, perhaps killed for lack of memory: give it "
    "more, or lower the worker's batch or the engine's concurrency; what is done is kept"
)
LISTEN = 0.5
"""Seconds between two looks at what the actors say."""

Row = dict[str, str]
"""What Ray carries: `requests`, a list in JSON, there; back `completion`, `fault` or `spent`, the other two empty."""


class RayOptions(BaseModel):
    """Settings of this engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = None
    """The cluster, `auto` or host:port; None: the one that RAY_ADDRESS names, else a new one on this machine."""
    worker: EnginePlugin = Field(default_factory=lambda: EnginePlugin(name="vllm"))
    """The engine in each actor. It opens the model there: every machine needs it at the same path."""
    concurrency: int = Field(default=1, ge=1)
    """Actors, each with a copy of the model."""
    num_gpus: float = Field(default=1, ge=0)
    """GPUs for each actor: as many as its engine spreads the model over; 0 on a cluster without."""
    num_cpus: float | None = Field(default=None, ge=0)
    """CPU cores for each actor; None: as Ray Data decides."""
    batch: int = Field(default=256, ge=1)
    """Requests given to an actor at a time. If its machine dies, an actor's requests are sent again."""


class RayEngine(Engine):
    """Generates with `Dataset.flat_map` over a pool of actors."""

    Options = RayOptions
    REACH = frozenset(("address", "concurrency", "num_gpus", "num_cpus", "batch"))

    @classmethod
    def continues_turns(cls, options: RayOptions) -> bool:
        """Whether the engine in each actor can; see `Engine.continues_turns`."""
        return bool(options.worker.plugin_class.continues_turns(options.worker.validated_options))

    def __init__(self, model: str, options: RayOptions) -> None:
        """Connect to the cluster; the actors open the model when there is something to generate.

        Raises:
            EngineError: Ray is not installed, or there is no cluster at the address.
        """
        self.options = options
        folder = Path(model).expanduser()
        self.model = str(folder.resolve()) if is_model(folder) else model  # an actor works in another directory
        connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        starts_one = self.options.address is None and not os.environ.get("RAY_ADDRESS") and not connected
        if starts_one:
            os.environ.setdefault(LOOPBACK_ALONE, "0")
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # its own key is a file that others can read
        self.ray = _import_ray()
        self.connected_here = not connected
        self.guard: Guard | None = None
        if self.connected_here:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers how it is used
            try:
                if starts_one:
                    with starting_guarded() as self.guard:
                        # Without an address Ray would join what a file in /tmp names: a dead cluster, or one of others.
                        self.ray.init(address="local", log_to_driver=False, include_dashboard=False)
                else:
                    self.ray.init(address=self.options.address, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise EngineError(f"engine ray: no cluster at {self.options.address}: {_first_line(error)}") from error

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        stream = iter(requests)
        with self._hearing() as said:
            while window := list(islice(stream, WINDOW)):
                try:
                    for row in self._dataset(window, sampling, seed, said).iter_rows():
                        if row["spent"]:
                            budget.pay(Spent(**json.loads(row["spent"])))
                            budget.check()
                        else:
                            yield read_completion(row)
                except self.ray.exceptions.RayActorError as error:
                    raise EngineError(OVER_AND_OVER) from error
                except self.ray.exceptions.RayError as error:
                    raise EngineError(f"engine ray: {_first_line(error)}") from error

    @contextmanager
    def _hearing(self) -> Iterator[Any]:
        """A queue to which actors say what a user should hear at once, as of a server that is away."""
        from ray.util.queue import Empty, Queue

        said, over = Queue(actor_options={"num_cpus": 0}), threading.Event()

        def listen() -> None:
            ended = False
            while not ended:
                ended = over.wait(LISTEN)
                with suppress(Empty, self.ray.exceptions.RayError):
                    while True:
                        pending.tell(said.get_nowait())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield said
        finally:
            over.set()
            listener.join()
            said.shutdown(force=True)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self.connected_here:
            self.ray.shutdown()
        if self.guard is not None:
            self.guard.close()

    def _dataset(self, window: Sequence[Request], sampling: Sampling, seed: int, said: Any) -> Any:
        share = math.ceil(len(window) / self.options.concurrency)
        size = min(self.options.batch, share)
        rows = [requests_row(window[start : start + size]) for start in range(0, len(window), size)]
        dataset = self.ray.data.from_items(rows, override_num_blocks=len(rows)).flat_map(
            Worker,
            fn_constructor_args=(self.options.worker, self.model, sampling, seed, said),
            compute=self.ray.data.ActorPoolStrategy(size=min(self.options.concurrency, len(rows))),
            num_gpus=self.options.num_gpus,
            num_cpus=self.options.num_cpus,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
        )
        dataset.context.enable_progress_bars = False
        return dataset


class Worker:
    """What runs in each actor: an engine that is opened once, and answers one row of requests after another."""

    def __init__(self, plugin: EnginePlugin, model: str, sampling: Sampling, seed: int, said: Any = None) -> None:
        """Open the model; if that fails, every row is answered by the reason. `said`: a queue of Ray's for lines."""
        self.sampling, self.seed = sampling, seed
        self.tell = None if said is None else said.put_nowait
        self.engine: Engine | None = None
        self.fault = ""
        try:
            self.engine = plugin.open(model)
        except Exception as error:  # raised from here, it would reach the user as a dead actor
            self.fault = _first_line(error)

    def __call__(self, row: Mapping[str, str]) -> list[Row]:
        """Answer the requests of one row."""
        if self.engine is None:
            return [fault_row(self.fault)]
        before = budget.spent()
        with pending.heard_by(self.tell):
            rows = self._answer(self.engine, read_requests(row))
        spent = budget.spent() - before
        return rows if spent == NOTHING else [spent_row(spent), *rows]

    def __del__(self) -> None:
        """Close the engine: Ray Data deletes this object when the actor ends."""
        if self.engine is not None:
            self.engine.close()

    def _answer(self, engine: Engine, requests: Sequence[Request]) -> list[Row]:
        rows: list[Row] = []
        try:
            rows.extend(map(completion_row, engine.generate(requests, self.sampling, self.seed)))
        except SInternalError as error:
            return [*rows, fault_row(str(error))]
        except Exception as error:
            if len(requests) > 1:
                return self._one_by_one(engine, requests)
            return [completion_row(failed) for failed in _failures(requests[0], self.sampling.n, error)]
        return rows

    def _one_by_one(self, engine: Engine, requests: Sequence[Request]) -> list[Row]:
        """Find the request that broke the batch. If every one fails, the engine itself is broken."""
        rows = [row for request in requests for row in self._answer(engine, [request])]
        errors = [_error(row) for row in rows]
        return rows if None in errors else [fault_row(str(errors[0]))]


def requests_row(requests: Iterable[Request]) -> Row:
    """Requests as Ray carries them."""
    return {"requests": json.dumps([asdict(request) for request in requests])}


def read_requests(row: Mapping[str, str]) -> list[Request]:
    """The requests of a row."""
    return [
        Request(**{**values, "messages": tuple((role, content) for role, content in values["messages"])})
        for values in json.loads(row["requests"])
    ]


def completion_row(completion: Completion) -> Row:
    """A completion as Ray carries it."""
    return {"completion": json.dumps(asdict(completion)), "fault": "", "spent": ""}


def fault_row(message: str) -> Row:
    """What a worker answers if its engine cannot work at all."""
    return {"completion": "", "fault": message, "spent": ""}


def spent_row(spent: Spent) -> Row:
    """What a worker's calls to servers have cost, which the run's purse does not see there."""
    return {"completion": "", "fault": "", "spent": json.dumps(asdict(spent))}


def read_completion(row: Mapping[str, str]) -> Completion:
    """The completion of a row.

    Raises:
        EngineError: it is a worker's fault instead.
    """
    if row["fault"]:
        raise EngineError(f"engine ray: {row['fault']}")
    values = json.loads(row["completion"])
    recorded = values.pop("logprobs")
    logprobs = recorded and tuple(TokenLogprobs(text, tuple((token, p) for token, p in top)) for text, top in recorded)
    return replace(from_columns(Completion, values), logprobs=logprobs)


def _error(row: Row) -> str | None:
    return row["fault"] or read_completion(row).error


def _failures(request: Request, n: int, error: Exception) -> Iterator[Completion]:
    message = f"{type(error).__name__}: {_first_line(error)}"
    for sample in range(n):
        yield Completion(request.id, sample, None, None, Finish.ERROR, message)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise EngineError("engine 'ray' needs Ray: pip install 'sinternal[ray]'") from error
    return ray
