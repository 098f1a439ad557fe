"""What a run consists of, by variant, seed and arm: tasks while it is planned, artifacts once it has been carried out.

The planner fills a `RunMap[Task]`, the report reads a `RunMap[Artifact]`: whatever one writes the other finds under the
same typed name. A manifest holds the same map flat, as `VARIANT/SEED/arms/ARM/responses`: only this file knows that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, cast
from urllib.parse import quote, unquote

T = TypeVar("T")
DELIVERY, REPETITION = "delivery", "repetition"
"""Conditions of stress: other ways of delivery, and requests that are repeated."""


def sampling_condition(number: int) -> str:
    """The name of the stress condition that uses the recipe's sampling of this number."""
    return f"sampling {number}"


class Control(StrEnum):
    """Whether an attack on an arm goes by its answers, or is a control of one that does."""

    NONE = "adaptive"
    """It sees the arm's answers and their labels."""
    BLIND = "blind"
    """The same attack with all feedback withheld: whatever it sends, it does not know what came of the last."""
    REPETITION = "repetition"
    """The plain request, again and again."""


def adaptive_condition(attack: str, control: Control) -> str:
    """The name of an attack on an arm, or of one of its controls."""
    return control.value if control is Control.REPETITION else f"{attack} {control}"


class Place(NamedTuple):
    """One repetition of a study."""

    variant: str
    """The variant of the recipe."""
    seed: int
    """The seed."""


class ArmPlace(NamedTuple):
    """One arm of one repetition."""

    variant: str
    """The variant of the recipe."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""


class _Node:
    """A part of the map: its fields are leaves, other parts, or mappings of either by name."""

    NODES: ClassVar[Mapping[str, type[_Node]]] = {}
    """The fields that hold parts, and which."""
    NAMED: ClassVar[frozenset[str]] = frozenset()
    """The fields that hold mappings by name."""

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Every leaf and its path, in the order of the fields."""
        for node_field in fields(cast(Any, self)):
            value = getattr(self, node_field.name)
            named = value.items() if node_field.name in self.NAMED else () if value is None else [(None, value)]
            for name, inner in named:
                path = (node_field.name,) if name is None else (node_field.name, name)
                if isinstance(inner, _Node):
                    yield from ((path + rest, leaf) for rest, leaf in inner.leaves())
                else:
                    yield path, inner

    @classmethod
    def of(cls, leaves: Mapping[tuple[str, ...], Any]) -> Self:
        """The part that has these leaves."""
        values: dict[str, Any] = {}
        for name, below in _group_by_first(leaves).items():
            make = cls.NODES.get(name)
            if name in cls.NAMED:
                values[name] = {
                    key: make.of(rest) if make else rest[()] for key, rest in _group_by_first(below).items()
                }
            else:
                values[name] = make.of(below) if make else below[()]
        return cls(**values)


def _group_by_first(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, dict[tuple[str, ...], Any]]:
    grouped: dict[str, dict[tuple[str, ...], Any]] = {}
    for (first, *rest), leaf in leaves.items():
        grouped.setdefault(first, {})[tuple(rest)] = leaf
    return grouped


@dataclass(frozen=True)
class Answers(_Node, Generic[T]):
    """A model's answers to the training prompts."""

    responses: T
    """The answers."""
    judgements: T
    """Their labels, by the judge of what arms learn from."""
    contrast: T
    """A safe and an unsafe answer to each harmful prompt that has both, and an answer to each benign one."""


@dataclass(frozen=True)
class Others(_Node, Generic[T]):
    """Another model whose answers an arm verifies."""

    model: T
    """The model."""
    answers: Answers[T]
    """Its answers."""
    NODES: ClassVar[Mapping[str, type[_Node]]] = {"answers": Answers}


@dataclass(frozen=True)
class Published(_Node, Generic[T]):
    """A published data set that an arm is trained on."""

    prompts: T
    """Its prompts, without those that overlap with evaluation prompts."""
    responses: T
    """Its answers."""


@dataclass(frozen=True)
class Training(_Node, Generic[T]):
    """How an arm's model was made."""

    prompts: T
    """What its examples, or its rollouts, answer."""
    others: Others[T] | None = None
    """The model whose answers it verifies, if not the target."""
    published: Published[T] | None = None
    """The data set, if it is trained on one."""
    critiques: T | None = None
    """The expert's critiques and verdicts."""
    demonstrations: T | None = None
    """The expert's answers."""
    judgements: T | None = None
    """Labels of the demonstrations."""
    refusals: T | None = None
    """Labels of the same by the judge of refusals, if it is another."""
    examples: T | None = None
    """The training set."""
    sft: T | None = None
    """What fine-tuning left."""
    mathematics: T | None = None
    """Problems that are mixed in among the prompts of rollouts."""
    held_out: T | None = None
    """Prompts by which learning is watched."""
    grpo: T | None = None
    """What reinforcement learning left."""
    NODES: ClassVar[Mapping[str, type[_Node]]] = {"others": Others, "published": Published}


@dataclass(frozen=True)
class Stressed(_Node, Generic[T]):
    """An arm under one condition of stress."""

    prompts: T
    """What was asked."""
    responses: T
    """What it said."""
    judgements: T
    """Labels by the first judge."""


@dataclass(frozen=True)
class Checked(_Node, Generic[T]):
    """What safety checks in an arm's thinkings cause: thinkings are continued without theirs, or with one."""

    places: T
    """Where its thinkings check, or would."""
    prompts: T
    """Thinkings to be continued, and what was done to each."""
    responses: T
    """How the arm's model goes on."""
    judgements: T
    """Labels by the first judge."""
    further: T
    """Where the continued thinkings check."""


@dataclass(frozen=True)
class Attacked(_Node, Generic[T]):
    """An arm under an attack that goes on asking."""

    prompts: T
    """The plain prompts, of which the harmful ones are attacked."""
    queries: T
    """What was asked, what the arm said, and labels by the first judge."""


@dataclass(frozen=True)
class ArmRun(_Node, Generic[T]):
    """One arm of one variant and seed."""

    model: T
    """The model that is measured."""
    responses: T
    """Its responses to the evaluation prompts."""
    judgements: Mapping[str, T]
    """Their labels, by judge."""
    verifications: T
    """How it verifies its own answers."""
    training: Training[T] | None = None
    """How it was trained; None for a model that is measured as it is."""
    rewarding: T | None = None
    """Labels of the same responses by the judge that rewarded, if it is another than the first."""
    capability: T | None = None
    """What else it can do."""
    stress: Mapping[str, Stressed[T]] = field(default_factory=dict)
    """What it does under stress, by condition."""
    checks: Checked[T] | None = None
    """What its safety checks cause; None if that is not measured."""
    attacked: Mapping[str, Attacked[T]] = field(default_factory=dict)
    """What it says to adaptive attackers, by attack and control."""
    NODES: ClassVar[Mapping[str, type[_Node]]] = {
        "training": Training,
        "stress": Stressed,
        "checks": Checked,
        "attacked": Attacked,
    }
    NAMED: ClassVar[frozenset[str]] = frozenset({"judgements", "stress", "attacked"})


@dataclass(frozen=True)
class SeedRun(_Node, Generic[T]):
    """Everything of one variant and seed."""

    target: T
    """The untouched model."""
    evaluation_prompts: T
    """What arms are measured on."""
    training_prompts: T | None = None
    """What arms are trained on; None if none is."""
    answers: Answers[T] | None = None
    """The target's own answers to them; None if no arm is trained."""
    arms: Mapping[str, ArmRun[T]] = field(kw_only=True)
    """The arms, by name."""
    NODES: ClassVar[Mapping[str, type[_Node]]] = {"answers": Answers, "arms": ArmRun}
    NAMED: ClassVar[frozenset[str]] = frozenset({"arms"})

    @property
    def learned_from(self) -> tuple[T, Answers[T]]:
        """The training prompts and the target's answers to them, which are there wherever an arm is trained."""
        assert self.training_prompts is not None
        assert self.answers is not None
        return self.training_prompts, self.answers


class RunMap(Mapping[Place, SeedRun[T]]):
    """A whole run."""

    def __init__(self, seeds: Mapping[Place, SeedRun[T]]) -> None:
        """Take the parts of the map, by variant and seed."""
        self._seeds = dict(seeds)

    def __getitem__(self, place: Place) -> SeedRun[T]:
        return self._seeds[place]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._seeds)

    def __len__(self) -> int:
        return len(self._seeds)

    def arm(self, place: ArmPlace) -> ArmRun[T]:
        """One arm of one repetition."""
        return self._seeds[Place(place.variant, place.seed)].arms[place.arm]

    def arms(self) -> list[ArmPlace]:
        """Every arm: by variant, then as the recipe lists them, then by seed."""
        names = {place.variant: list(run.arms) for place, run in self._seeds.items()}
        return [
            ArmPlace(variant, arm, place.seed)
            for variant, arms in names.items()
            for arm in arms
            for place in self._seeds
            if place.variant == variant
        ]

    def of_arm(self, variant: str, arm: str) -> dict[int, ArmRun[T]]:
        """One arm of one variant, by seed."""
        return {place.seed: run.arms[arm] for place, run in self._seeds.items() if place.variant == variant}

    def flat(self) -> dict[str, T]:
        """Every leaf under a name of its own, as the inputs of a task are named."""
        return {
            "/".join(quote(part, safe=" ") for part in (place.variant, str(place.seed), *path)): leaf
            for place, run in self._seeds.items()
            for path, leaf in run.leaves()
        }

    @classmethod
    def from_flat(cls, leaves: Mapping[str, T]) -> RunMap[T]:
        """The map that `flat` has flattened."""
        places: dict[Place, dict[tuple[str, ...], T]] = {}
        for name, leaf in leaves.items():
            variant, seed, *path = map(unquote, name.split("/"))
            places.setdefault(Place(variant, int(seed)), {})[tuple(path)] = leaf
        return cls({place: SeedRun.of(below) for place, below in places.items()})

    def leaves(self) -> list[T]:
        """Every leaf; one that occurs in several places is repeated."""
        return list(self.flat().values())
