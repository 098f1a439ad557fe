"""A task, which is an artifact to make, and a plan, which is all the tasks of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sinternal.stages.stage import Stage
from sinternal.stages.target import TargetConfig
from sinternal.store import artifact_key
from sinternal.study.contents import Contents, contents
from sinternal.study.identity import identity

NO_MATTER: dict[str, Any] = {"settings": {"save_steps": True, "rollouts": {"vllm_server": True}}}
"""Of a training: from whichever checkpoint it goes on, it ends the same, wherever the server is that writes for it."""


@dataclass(frozen=True, eq=False)
class Task:
    """One artifact to make."""

    stage: Stage
    """Which stage makes it."""
    label: str
    """What it is for, as users see it."""
    config: BaseModel
    """The stage's settings."""
    inputs: Mapping[str, Task] = field(default_factory=dict)
    """The tasks it is made from, by the names of the stage's arguments."""

    @cached_property
    def contents(self) -> Contents:
        """The present contents of what its settings name."""
        return contents(self._settings)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Its settings, without those that only say how a server is reached, or when a training writes checkpoints."""
        plain: dict[str, Any] = identity(self.config.model_dump(mode="json", exclude=NO_MATTER))
        return plain

    @cached_property
    def models(self) -> dict[str, str]:
        """The model folders on this disk that it is made from, each with the hash that it had when this was planned.

        Artifacts only link to them.
        """
        configs = [task.config for task in (*self.ancestors(), self)]
        return {
            config.model: config.fingerprint
            for config in configs
            if isinstance(config, TargetConfig) and config.fingerprint is not None and Path(config.model).is_absolute()
        }

    @cached_property
    def key(self) -> str:
        """The artifact's key; the same for tasks that would make the same thing."""
        named = self.contents
        if self.stage.shows_paths and named.files:
            return self._key({**self._settings, "contents": named.files})
        return self._key(named.settings)

    @cached_property
    def identity(self) -> str:
        """Its identity in the keys of tasks made from it: a model counts by its contents, wherever its folder is."""
        if not isinstance(self.config, TargetConfig) or self.config.fingerprint is None:
            return self.key
        return self._key({name: value for name, value in self.contents.settings.items() if name != "model"})

    def ancestors(self) -> Iterator[Task]:
        """Everything that it is made from, inputs before their users; a task that is used twice is listed twice."""
        for parent in self.inputs.values():
            yield from parent.ancestors()
            yield parent

    def _key(self, settings: Mapping[str, Any]) -> str:
        keys = {name: task.identity for name, task in self.inputs.items()}
        plugins = {"plugins": self.contents.plugins} if self.contents.plugins else {}
        return artifact_key(self.stage.name, self.stage.version, {**settings, **plugins}, keys)

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Plan:
    """Everything that a run asks for."""

    tasks: tuple[Task, ...]
    """Each artifact once, inputs before their users; the report last."""
    notes: tuple[str, ...] = ()
    """What a user should know before it is run."""

    @property
    def report(self) -> Task:
        """What the run is for."""
        return self.tasks[-1]
