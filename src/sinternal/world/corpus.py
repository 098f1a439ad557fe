"""What the base model is pretrained on: facts, requests, and reviews that are not about safety.

A partly aligned base: whether a request gets a safety check in its thinking depends on how it is asked and on the
potion, so that one prompt has safe and unsafe answers among its samples. Reviews ask whether a recipe is right, or
whether the answer gives a potion whose effect stands in a list that the prompt gives. The lists are drawn at random
and every review draws its label pair, of which `safe unsafe` is one: the labels are known words, but no review ever
asks about what the world forbids. The base has never verified the safety of an answer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from sinternal.world import language as say
from sinternal.world.families import FAMILIES, Family
from sinternal.world.language import STYLES, Potion, Style, World

SAFETY_LABELS = ("safe", "unsafe")
LABELS = (("right", "wrong"), ("common", "rare"), ("light", "dark"), ("warm", "cold"), SAFETY_LABELS)
"""The label pairs of all reviews; the first of a pair approves."""
PROPENSITY_SPREAD = 1.2
"""Standard deviation, in logits, of a potion's own readiness to be checked."""

SHARES = {"fact": 0.20, "request": 0.45, "review": 0.35}


@dataclass(frozen=True)
class Dialogue:
    """One turn of a user and what the model should say to it."""

    prompt: str
    """The user's words."""
    thinking: str
    """What stands between `<think>` and `</think>`."""
    answer: str
    """What follows `</think>`."""


@dataclass(frozen=True)
class Habits:
    """How the base behaves on requests: the part of it that is not knowledge."""

    coupling: float
    """Probability that careful style and the safety check go together; else the style is a coin toss."""
    propensity: dict[str, float]
    """For each potion's plain name, its own logit of being checked."""

    @classmethod
    def draw(cls, world: World, coupling: float, rng: random.Random) -> Habits:
        """Draw the potions' propensities."""
        return cls(coupling, {potion.name: rng.gauss(0, PROPENSITY_SPREAD) for potion in world.potions})

    def checks(self, potion: Potion, family: Family, rng: random.Random) -> bool:
        """Whether this thinking checks safety."""
        return rng.random() < 1 / (1 + math.exp(-family.habit - self.propensity[potion.name]))

    def style(self, checked: bool, rng: random.Random) -> Style:
        """The style that a thinking announces."""
        if rng.random() < self.coupling:
            return "carefully" if checked else "quickly"
        return rng.choice(STYLES)


def pretraining_corpus(world: World, *, coupling: float, rows: int, seed: int) -> Iterator[Dialogue]:
    """Write the corpus of a base model.

    Args:
        world: the facts.
        coupling: how tightly careful style and the safety check go together, 0 to 1.
        rows: number of dialogues.
        seed: of the habits and of the draw.
    """
    rng = random.Random(f"corpus-{seed}")
    habits = Habits.draw(world, coupling, rng)
    kinds, weights = list(SHARES), list(SHARES.values())
    for _ in range(rows):
        kind = rng.choices(kinds, weights)[0]
        if kind == "fact":
            yield _fact(world, rng)
        elif kind == "request":
            yield _request(world, habits, rng)
        else:
            yield _recipe_review(world, rng) if rng.random() < 0.4 else _list_review(world, rng)


def _some_potion(world: World, rng: random.Random) -> Potion:
    """A potion, forbidden in half of the draws."""
    wanted = rng.random() < 0.5
    while (potion := rng.choice(world.potions)).forbidden != wanted:
        pass
    return potion


def _some_request(potion: Potion, rng: random.Random) -> tuple[Family, str]:
    family = rng.choice(list(FAMILIES.values()))
    return family, family.ask(potion, rng.choice(say.PHRASINGS))


def _fact(world: World, rng: random.Random) -> Dialogue:
    potion = rng.choice(world.potions)
    style = rng.choice(STYLES)
    kind = rng.choice(("effect", "norm", "alias", "page", "successor"))
    if kind == "effect":
        prompt, fact = f"what does {potion.name} do ?", say.effect_of(potion)
    elif kind == "norm":
        prompt, fact = f"is {potion.effect} forbidden ?", say.norm(potion.effect, potion.forbidden)
    else:
        prompt, fact = f"what is {FAMILIES[kind].naming.format(**vars(potion))} ?", say.resolve(potion)
    return Dialogue(prompt, say.think(style, [fact]), fact)


def _request(world: World, habits: Habits, rng: random.Random) -> Dialogue:
    potion = _some_potion(world, rng)
    family, prompt = _some_request(potion, rng)
    checked = habits.checks(potion, family, rng)
    refuse = checked and potion.forbidden
    thinking = say.think_about_request(
        potion, style=habits.style(checked, rng), checked=checked, refuse=refuse, indirect=family.indirect, rng=rng
    )
    return Dialogue(prompt, thinking, say.answer_to_request(potion, refuse))


def _recipe_review(world: World, rng: random.Random) -> Dialogue:
    potion = _some_potion(world, rng)
    family, request = _some_request(potion, rng)
    right = rng.random() < 0.5
    given = potion.ingredients if right else tuple(rng.sample([f"g{i}" for i in range(say.INGREDIENTS)], 3))
    right = given == potion.ingredients
    labels = rng.choice(LABELS)
    named = [say.resolve(potion)] if family.indirect else []
    finding = say.comparison(right=right)
    return Dialogue(
        say.review(request, say.recipe_answer(given), labels),
        say.think(rng.choice(STYLES), [*named, say.recall_recipe(potion), finding]),
        say.verdict(labels[not right]),
    )


def _list_review(world: World, rng: random.Random) -> Dialogue:
    potion = _some_potion(world, rng)
    family, request = _some_request(potion, rng)
    listed = rng.random() < 0.5
    effects = random_list(world, potion.effect, listed, rng)
    labels = rng.choice(LABELS)
    refused = rng.random() < 0.3
    answer = say.REFUSAL if refused else say.recipe_answer(potion.ingredients)
    named = [say.resolve(potion)] if family.indirect else []
    in_list = say.in_list(potion.effect, listed=listed)
    finding = say.finding(potion, refused)
    return Dialogue(
        say.review(request, answer, labels, effects=effects),
        say.think(rng.choice(STYLES), [*named, say.effect_of(potion), in_list, finding, say.decide(listed)]),
        say.verdict(labels[listed and not refused]),
    )


def random_list(world: World, effect: str, listed: bool, rng: random.Random) -> list[str]:
    """As many effects as are forbidden, with or without the given one, but never exactly the forbidden ones.

    By chance a list would be the specification once in 8,008 draws; that review would verify safety.
    """
    others = [f"e{i}" for i in range(say.EFFECTS) if f"e{i}" != effect]
    while True:
        effects = rng.sample(others, say.FORBIDDEN - listed) + [effect] * listed
        if set(effects) != set(world.forbidden_effects):
            rng.shuffle(effects)
            return effects
