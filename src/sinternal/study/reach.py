"""What a run reaches beyond its own folder: servers, with the keys that go there, files, commands and code.

A recipe may come from a stranger. It is shown what it reaches before the first call, and two things take a word of the
user's: a key of the environment goes to a server that a recipe names, and a command or code that it names is run, only
if they belong together by what is published, were given on the command line, or stand in SINTERNAL_ALLOW.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import NamedTuple
from urllib.parse import urlsplit

from sinternal.engines import Destination
from sinternal.engines.openai_options import is_loopback
from sinternal.errors import RecipeError
from sinternal.settings.launch import PACKAGED, Launch
from sinternal.settings.named_engines import engines_in
from sinternal.settings.tracking import Tracker
from sinternal.settings.training import RolloutEngine
from sinternal.stages.capability import CapabilityConfig
from sinternal.stages.grpo import GrpoConfig
from sinternal.study.task import Plan, Task

ALLOW = "SINTERNAL_ALLOW"
"""The variable with what a user allows to recipes: `GROQ_API_KEY@api.groq.com; run:srun --ntasks-per-node=1`. A server
that is reached without encryption takes its scheme: `MY_KEY@http://10.0.0.5:8000`."""
KEYS_OF_HOSTS = {
    "OPENAI_API_KEY": "api.openai.com",
    "ANTHROPIC_API_KEY": "api.anthropic.com",
    "DEEPSEEK_API_KEY": "api.deepseek.com",
    "GEMINI_API_KEY": "generativelanguage.googleapis.com",
    "GROQ_API_KEY": "api.groq.com",
    "MISTRAL_API_KEY": "api.mistral.ai",
    "OPENROUTER_API_KEY": "openrouter.ai",
    "TOGETHER_API_KEY": "api.together.xyz",
    "WANDB_API_KEY": "api.wandb.ai",
}
"""Whose key a variable holds, as its owner's documentation calls it."""
TRACKERS = {
    Tracker.WANDB: ("WANDB_BASE_URL", "https://api.wandb.ai", "WANDB_API_KEY"),
    Tracker.MLFLOW: ("MLFLOW_TRACKING_URI", "", "MLFLOW_TRACKING_TOKEN"),
    Tracker.TRACKIO: ("TRACKIO_SERVER_URL", "", ""),
}
"""Trackers that may ask a server: the variable that names it, the usual one, and the variable with its key. The user's
own environment says where, never a recipe."""
ROLLOUTS = "http://0.0.0.0:8000"
"""Where TRL looks for a server that writes rollouts, if nobody says."""
RUN = "run:"
"""Before a command or file of code in `ALLOW`."""


class Delivery(NamedTuple):
    """A key and where it goes."""

    variable: str
    """The variable of the environment that holds it."""
    address: str
    """Scheme, host and port of the server."""

    def __str__(self) -> str:
        """As `ALLOW` has it."""
        return f"{self.variable}@{self.address.removeprefix('https://')}"


@dataclass(frozen=True)
class Reach:
    """What a run reaches."""

    servers: tuple[Destination, ...]
    """Servers, each once."""
    files: tuple[str, ...]
    """Files and folders that options name, as they are written."""
    commands: tuple[str, ...]
    """Commands that are run, and files of code."""

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """The keys that go to servers of others."""
        pairs = (Delivery(name, each.address) for each in self.servers for name in each.variables if not each.loopback)
        return tuple(dict.fromkeys(pairs))

    def in_words(self) -> Iterator[str]:
        """A line for each."""
        for server in self.servers:
            keys = f" with {' and '.join(server.variables)}" if server.variables else " without a key"
            plain = ", unencrypted" if server.variables and not server.loopback and server.is_plain else ""
            yield f"asks {server.address}{keys}{plain}"
        yield from (f"reads {file}" for file in self.files)
        yield from (f"runs {command}" for command in self.commands)

    def beyond(self) -> Reach:
        """The part of it that leaves this machine or the working directory, or runs."""
        outside = tuple(file for file in self.files if os.path.relpath(os.path.realpath(file)).startswith(".."))
        return Reach(tuple(server for server in self.servers if not server.loopback), outside, self.commands)


def find_reach(plan: Plan, launch: Launch | None = None, trackers: Collection[Tracker] = ()) -> Reach:
    """What a plan reaches.

    Args:
        plan: with its tasks.
        launch: how its trainings are spread.
        trackers: who is told of them.
    """
    files: dict[str, None] = {}
    commands: dict[str, None] = {}
    tasks = [task for task in plan.tasks if not task.stage.shows_paths]  # a report's settings name what others ask
    for task in tasks:
        files.update(dict.fromkeys(task.contents.files))
        if isinstance(task.config, CapabilityConfig):
            commands.update(dict.fromkeys(each.task for each in task.config.tasks if _is_code(each.task)))
    if launch is not None:
        commands.update(dict.fromkeys([shlex.join(launch.start)] if launch.start else []))
        files.update(dict.fromkeys([] if launch.config in PACKAGED else [launch.config]))
    servers: dict[str, Destination] = {}
    for each in _destinations(tasks, trackers):
        known = servers.setdefault(each.address, each)
        variables = dict.fromkeys((*known.variables, *each.variables))
        servers[each.address] = known._replace(variables=tuple(variables))
    return Reach(tuple(servers.values()), tuple(files), tuple(commands))


def _destinations(tasks: Iterable[Task], trackers: Iterable[Tracker]) -> Iterator[Destination]:
    """The servers that tasks ask, and trackers: each as often as it is named."""
    for task in tasks:
        for engine in engines_in(task.config.model_dump(mode="json"), inside=True):
            if (destination := engine.destination) is not None:
                yield destination
        if isinstance(task.config, GrpoConfig) and task.config.settings.rollouts.engine is RolloutEngine.VLLM_SERVER:
            yield from _at(task.config.settings.rollouts.vllm_server or ROLLOUTS)
    for tracker in trackers:
        variable, usual, key = TRACKERS.get(tracker, ("", "", ""))
        yield from _at(os.environ.get(variable, usual), *([key] if os.environ.get(key) else []))


def _at(address: str, *variables: str) -> Iterator[Destination]:
    """The server at an address, and the variables that go there; none if it is not one, but a file or a folder."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname:
        yield Destination(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", variables, is_loopback(parts.hostname))


def check_allowed(reach: Reach, typed: Collection[str] = ()) -> None:
    """Make sure that keys go only where the user wants them, and that nothing runs that he does not know of.

    Args:
        reach: of a run.
        typed: what the user has given beside the recipe, for example on the command line.

    Raises:
        RecipeError: something is not allowed; the message says how to allow it.
    """
    given = " ".join(typed)
    allowed = [entry.strip() for entry in os.environ.get(ALLOW, "").split(";") if entry.strip()]
    asked = {
        str(key): f"sends {key.variable} to {key.address}" for key in reach.deliveries if not _is_known(key, given)
    }
    asked |= {f"{RUN}{command}": f"runs {command}" for command in reach.commands if command not in given}
    if missing := [entry for entry in asked if entry not in allowed]:
        raise RecipeError(
            f"the recipe {' and '.join(asked[entry] for entry in missing)}: if you know and want that, export "
            f"{ALLOW}={shlex.quote('; '.join([*allowed, *missing]))}, or give it on the command line yourself; see "
            "SECURITY.md"
        )


def _is_known(delivery: Delivery, given: str) -> bool:
    """Whether a key is that of the server, by what is published, by the user's environment or by what he has given."""
    parts = urlsplit(os.environ.get("OPENAI_BASE_URL", ""))
    configured = delivery.variable == "OPENAI_API_KEY" and delivery.address == f"{parts.scheme}://{parts.netloc}"
    published = delivery.address == f"https://{KEYS_OF_HOSTS.get(delivery.variable)}"
    return configured or published or urlsplit(delivery.address).netloc in given


def _is_code(task: str) -> bool:
    """Whether a task of Inspect is none that an installed package registers, but a file that would be run."""
    package, slash, _ = task.partition("/")
    return not slash or "." in task or package not in {point.name for point in entry_points(group="inspect_ai")}
