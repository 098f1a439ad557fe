"""What the base model is pretrained on: facts, requests, and reviews that are not about safety.

A partly aligned base, which drafts before it answers. Whether it checks safety before drafting (the *front check*)
depends on how it is asked and on the potion, so that one prompt has safe and unsafe answers among its samples. Half of
the drafts it then reviews; eight of ten of these *self-reviews* are about the recipe, so that a wrong draft is mended,
one is about safety, and one about the looks, which is of no consequence. Asked to review an answer it goes by the
recipe, or by a list of effects in the question.

What it has never seen: the forms of question by which arms are asked for the norm (`check norm`) and their placebos for
the looks (`check look`), a review of an answer that says what is forbidden or allowed, dull or bright, and a list that
is exactly the specification. The labels `safe` and `unsafe` are one of five pairs that reviews draw by chance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sinternal.world import language as say
from sinternal.world.families import FAMILIES, Family
from sinternal.world.language import Decision, Potion, World
from sinternal.world.settings import BaseConfig

SAFETY_LABELS = ("safe", "unsafe")
LABELS = (("right", "wrong"), ("common", "rare"), ("light", "dark"), ("warm", "cold"), SAFETY_LABELS)
"""The label pairs of all reviews; the first of a pair approves."""
PROPENSITY_SPREAD = 1.2
"""Standard deviation, in logits, of a potion's own readiness to be checked."""

SHARES = {"fact": 0.20, "request": 0.40, "choice": 0.10, "review": 0.30}
"""Kinds of dialogues."""
LOOKS = 0.1
"""Share of the reviews of drafts that are about the looks."""
LISTS = 0.5
"""Share of the reviews that go by a list."""
REFUSED = 0.3
"""Share of the answers under review that refuse."""


@dataclass(frozen=True)
class Dialogue:
    """One turn of a user and what the model should say to it."""

    prompt: str
    """The user's words."""
    thinking: str
    """What stands between `<think>` and `</think>`."""
    answer: str
    """What follows `</think>`."""


def pretraining_corpus(config: BaseConfig, *, rows: int, seed: int) -> Iterator[Dialogue]:
    """Write the corpus of a base model.

    Args:
        config: the world, and the habits of the base.
        rows: number of dialogues.
        seed: of the draw.
    """
    writer = Writer(World.draw(config.world, config.categories), config, random.Random(f"corpus-{seed}"))
    kinds, weights = list(SHARES), list(SHARES.values())
    for _ in range(rows):
        yield getattr(writer, writer.rng.choices(kinds, weights)[0])()


class Writer:
    """Writes dialogues as the base has them."""

    def __init__(self, world: World, config: BaseConfig, rng: random.Random) -> None:
        """Draw each potion's own readiness to be checked."""
        self.world, self.config, self.rng = world, config, rng
        self._propensity = {potion.name: rng.gauss(0, PROPENSITY_SPREAD) for potion in world.potions}

    def fact(self) -> Dialogue:
        """A question about one fact."""
        potion = self.rng.choice(self.world.potions)
        kind = self.rng.choice(("effect", "norm", "shade", "look", "alias", "successor"))
        if kind == "effect":
            prompt, fact = f"what does {potion.name} do ?", say.effect_of(potion)
        elif kind == "norm":
            effect = self.rng.choice(self.world.effects)
            prompt, fact = f"what says the norm of {effect} ?", say.norm(effect, effect in self.world.forbidden_effects)
        elif kind == "shade":
            prompt, fact = f"what shade has {potion.name} ?", say.shade_of(potion)
        elif kind == "look":
            shade = self.rng.choice(self.world.shades)
            prompt, fact = f"what look has {shade} ?", say.look(shade, shade in self.world.dull_shades)
        else:
            prompt, fact = f"what is {FAMILIES[kind].naming.format(**vars(potion))} ?", say.resolve(potion)
        return Dialogue(prompt, fact, fact)

    def request(self) -> Dialogue:
        """A request for one potion."""
        potion = self._some_potion()
        family, prompt = self._some_request(potion)
        checked = self.rng.random() < 1 / (1 + math.exp(-family.habit - self._propensity[potion.name]))
        sentences = [say.resolve(potion)] if family.indirect else []
        if checked:
            sentences.append(say.check(potion))
        if checked and potion.forbidden:
            return _dialogue(prompt, [*sentences, Decision.REFUSE], say.REFUSAL)
        return self.draft(prompt, sentences, potion)

    def choice(self) -> Dialogue:
        """A request that names two potions and leaves the choice to the answer; never checked before the draft."""
        potions = self.rng.sample(self.world.potions, 2)
        prompt = self.rng.choice(say.CHOICES).format(*(potion.name for potion in potions))
        self.rng.shuffle(potions)
        return self.draft(prompt, [], potions[0], potions[1])

    def draft(
        self, prompt: str, before: Sequence[str], potion: Potion, other: Potion | None = None, review: str | None = None
    ) -> Dialogue:
        """A thinking that drafts and perhaps reviews, and the answer.

        Args:
            prompt: the request.
            before: what has been thought.
            potion: what is drafted.
            other: what could be chosen instead.
            review: what its review is about, `safety`, `look` or `recipe`; drawn if None.
        """
        wrong = self.rng.random() < self.config.wrong
        ingredients = self.alter(potion.ingredients) if wrong else potion.ingredients
        sentences = [*before, say.draft(potion, ingredients)]
        if review is None and self.rng.random() >= self.config.reviews:
            return _dialogue(prompt, [*sentences, Decision.ANSWER], say.recipe(ingredients))
        subject = review or self._subject()
        if subject == "look":
            sentences.append(say.review(say.REVIEW, say.shade_review(potion)))
            return _dialogue(prompt, [*sentences, Decision.ANSWER], say.recipe(ingredients))
        if subject == "recipe":
            sentences.append(say.review(say.REVIEW, say.recipe_review(potion, ingredients)))
            decision = Decision.MEND if wrong else Decision.ANSWER
            return _dialogue(prompt, [*sentences, decision], say.recipe(potion.ingredients))
        sentences.append(say.review(say.REVIEW, say.safety_review(potion)))
        if not potion.forbidden:
            return _dialogue(prompt, [*sentences, Decision.ANSWER], say.recipe(ingredients))
        if other is not None:
            sentences.append(say.check(other))
            if not other.forbidden:
                return _dialogue(prompt, [*sentences, Decision.MEND], say.recipe(other.ingredients))
        return _dialogue(prompt, [*sentences, Decision.REFUSE], say.REFUSAL)

    def _subject(self) -> str:
        drawn = self.rng.random()
        if drawn < self.config.safety_reviews:
            return "safety"
        return "look" if drawn < self.config.safety_reviews + LOOKS else "recipe"

    def review(self) -> Dialogue:
        """A question for a review of an answer: by the recipe, or by a list that is quoted."""
        potion = self._some_potion()
        if self.rng.random() < SHARES["choice"] / (SHARES["choice"] + SHARES["request"]):
            other = self.rng.choice([each for each in self.world.potions if each is not potion])
            named = self.rng.sample([potion.name, other.name], 2)
            request, indirect = self.rng.choice(say.CHOICES).format(*named), False
        else:
            family, request = self._some_request(potion)
            indirect = family.indirect
        by_list = self.rng.random() < LISTS
        given = None if self.rng.random() < REFUSED else potion.ingredients
        if given and not by_list and self.rng.random() < 0.5:
            given = self.alter(given)
        labels = self.rng.choice(LABELS)
        answer = say.REFUSAL if given is None else say.recipe(given)
        sentences = [say.resolve(potion)] if indirect else []
        if by_list:
            form, body, decision, approved = self._by_list(potion, given is None)
        else:
            form, body = "recipe", say.recipe_review(potion, given)
            approved = given is None or given == potion.ingredients  # a refusal holds no mistake
            decision = Decision.ANSWER if approved else Decision.MEND
        word = say.REVIEW if self.rng.random() < self.config.link else say.INSPECT
        return _dialogue(
            say.ask_about(form, request, answer, labels),
            [say.review(word, " ".join([*sentences, body])), decision],
            say.verdict(labels[not approved]),
        )

    def _by_list(self, potion: Potion, refused: bool) -> tuple[str, str, Decision, bool]:
        listed = self.rng.random() < 0.5
        effects = random_list(self.world, potion.effect, listed, self.rng)
        decision = Decision.REFUSE if listed else Decision.ANSWER
        body = say.list_review(potion, listed, refused)
        return f"list {' '.join(effects)}", body, decision, refused or not listed

    def alter(self, ingredients: Sequence[str]) -> tuple[str, ...]:
        """A recipe with one ingredient replaced by another."""
        altered = list(ingredients)
        others = [f"g{i}" for i in range(say.INGREDIENTS) if f"g{i}" not in ingredients]
        altered[self.rng.randrange(len(altered))] = self.rng.choice(others)
        return tuple(altered)

    def _some_potion(self) -> Potion:
        """A potion, forbidden in half of the draws."""
        wanted = self.rng.random() < 0.5
        while (potion := self.rng.choice(self.world.potions)).forbidden != wanted:
            pass
        return potion

    def _some_request(self, potion: Potion) -> tuple[Family, str]:
        family = self.rng.choice(list(FAMILIES.values()))
        return family, family.ask(potion, self.rng.choice(say.PHRASINGS))


def _dialogue(prompt: str, sentences: Sequence[str], answer: str) -> Dialogue:
    return Dialogue(prompt, " ".join(sentences), answer)


def random_list(world: World, effect: str, listed: bool, rng: random.Random) -> list[str]:
    """As many effects as are forbidden, with or without the given one, but never exactly the forbidden ones.

    By chance a list would now and then be the specification; that review would verify safety.
    """
    others = [each for each in world.effects if each != effect]
    size = max(2, len(world.forbidden_effects))  # a list of one could be no other than the specification
    while True:
        effects = rng.sample(others, size - listed) + [effect] * listed
        if set(effects) != set(world.forbidden_effects):
            rng.shuffle(effects)
            return effects
