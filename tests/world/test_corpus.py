from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from sinternal.world import language as say
from sinternal.world.base import build_tokenizer
from sinternal.world.corpus import LABELS, LOOKS, SAFETY_LABELS, Dialogue, pretraining_corpus
from sinternal.world.language import World
from sinternal.world.settings import BaseConfig

ROWS = 30_000
WORLD = World.draw()


def corpus(**settings: float) -> list[Dialogue]:
    return list(pretraining_corpus(BaseConfig.model_validate(settings), rows=ROWS, seed=5))


def asks_for_review(row: Dialogue) -> bool:
    return row.prompt.startswith("check ")


def drafts(row: Dialogue) -> bool:
    return say.DRAFT in row.thinking.split()


def reviews_draft(row: Dialogue) -> bool:
    return drafts(row) and say.REVIEW in row.thinking.split()


def front_checked(row: Dialogue) -> bool:
    return say.checks_safety(row.thinking.split(f"{say.DRAFT} ")[0])


def share(rows: Iterable[Dialogue], holds: Callable[[Dialogue], bool]) -> float:
    values = [holds(row) for row in rows]
    return sum(values) / len(values)


def mutual_information(rows: Iterable[Dialogue], a: Callable[[Dialogue], bool], b: Callable[[Dialogue], bool]) -> float:
    """Of two yes-or-no properties of the rows, in bits."""
    joint = Counter((a(row), b(row)) for row in rows)
    total = sum(joint.values())
    first, second = Counter[bool](), Counter[bool]()
    for (x, y), count in joint.items():
        first[x] += count
        second[y] += count
    return sum(
        count / total * math.log2(count * total / (first[x] * second[y])) for (x, y), count in joint.items() if count
    )


@pytest.mark.parametrize("settings", [{}, {"categories": 2}, {"categories": 1}, {"link": 0.0, "world": 3}])
def test_every_word_of_the_corpus_is_a_token(settings: dict[str, float]) -> None:
    config = BaseConfig.model_validate(settings)
    tokenizer = build_tokenizer(World.draw(config.world, config.categories))
    for row in pretraining_corpus(config, rows=3000, seed=3):
        ids = tokenizer(f"{row.prompt} {row.thinking} {row.answer}")["input_ids"]
        assert tokenizer.unk_token_id not in ids, row


@pytest.mark.parametrize("settings", [{}, {"link": 0.0}, {"categories": 2}])
def test_the_corpus_never_reviews_an_answer_by_the_norm(settings: dict[str, float]) -> None:
    config = BaseConfig.model_validate(settings)
    forbidden = set(World.draw(config.world, config.categories).forbidden_effects)
    reviews = [row for row in corpus(**settings) if asks_for_review(row)]
    assert len(reviews) > ROWS / 5
    for row in reviews:
        words = row.prompt.split()
        assert not {"forbidden", "allowed", "dull", "bright"} & set(row.thinking.split())
        if words[1] == "list":
            assert set(words[2 : words.index(".")]) != forbidden


def test_the_forms_that_ask_for_the_norm_and_for_the_looks_are_reserved() -> None:
    assert {row.prompt.split()[1] for row in corpus() if asks_for_review(row)} == {"recipe", "list"}


def test_safe_and_unsafe_are_labels_like_any_other() -> None:
    reviews = [row for row in corpus() if asks_for_review(row)]
    for labels in LABELS:
        assert abs(share(reviews, lambda row, labels=labels: " ".join(labels) in row.prompt) - 1 / len(LABELS)) < 0.02
    of_safety = [row for row in reviews if SAFETY_LABELS[1] in row.prompt.split()]
    harmful = {potion.name for potion in WORLD.potions if potion.forbidden}
    plain = [row for row in of_safety if row.prompt.split()[1] == "recipe" and "answer gives" not in row.thinking]

    def about_harm(row: Dialogue) -> bool:
        return bool(harmful & set(row.thinking.split()))

    assert mutual_information(plain, about_harm, lambda row: row.answer.endswith("unsafe")) < 0.01


@pytest.mark.parametrize("link", [1.0, 0.5, 0.0])
def test_no_word_with_which_a_review_begins_predicts_the_front_check(link: float) -> None:
    rows = corpus(link=link)
    drafted = [row for row in rows if drafts(row) and not asks_for_review(row)]
    openings = {word for row in rows if asks_for_review(row) for word in row.thinking.split()[:2]}
    assert openings == {":"} | ({say.REVIEW} if link else set()) | ({say.INSPECT} if link < 1 else set())
    for word in openings:
        assert mutual_information(drafted, front_checked, lambda row, word=word: word in row.thinking.split()) < 0.001


@pytest.mark.parametrize("link", [1.0, 0.3, 0.0])
def test_the_link_says_how_often_reviews_of_answers_begin_as_reviews_of_drafts_do(link: float) -> None:
    rows = corpus(link=link)
    external = [row for row in rows if asks_for_review(row)]
    assert abs(share(external, lambda row: row.thinking.startswith(say.REVIEW)) - link) < 0.02
    assert not any(say.INSPECT in row.thinking.split() for row in rows if not asks_for_review(row))


@pytest.mark.parametrize(
    ("reviews", "wrong", "safety"), [(0.5, 0.25, 0.1), (1.0, 0.25, 0.5), (0.2, 0.4, 0.0), (0.0, 0.1, 0.1)]
)
def test_drafts_are_wrong_reviewed_and_mended_as_often_as_the_settings_say(
    reviews: float, wrong: float, safety: float
) -> None:
    rows = [row for row in corpus(reviews=reviews, wrong=wrong, safety_reviews=safety) if drafts(row)]
    assert abs(share(rows, reviews_draft) - reviews) < 0.02
    reviewed = [row for row in rows if reviews_draft(row)]
    if reviewed:
        assert abs(share(reviewed, lambda row: say.checks_answer(row.thinking)) - safety) < 0.02
        of_looks = [row for row in reviewed if {"dull", "bright"} & set(row.thinking.split())]
        assert abs(len(of_looks) / len(reviewed) - LOOKS) < 0.02
        by_recipe = [row for row in reviewed if "needs" in row.thinking.split()]
        assert abs(len(by_recipe) / len(reviewed) - (1 - LOOKS - safety)) < 0.02
        differs = share(by_recipe, lambda row: "differs" in row.thinking)
        assert abs(differs - wrong) < 0.03
        assert all(("so mend" in row.thinking) == ("differs" in row.thinking) for row in by_recipe)


def test_choice_requests_are_never_checked_before_the_draft() -> None:
    choices = [row for row in corpus() if not asks_for_review(row) and row.prompt.split()[0] in ("brew", "make")]
    assert len(choices) > 100
    assert not any(front_checked(row) for row in choices)


def test_a_base_of_another_world_differs_in_facts_alone() -> None:
    assert len(World.draw(0, 2).forbidden_effects) == 2
    for categories in (1, 2, 6, 12):
        assert sum(potion.forbidden for potion in World.draw(0, categories).potions) == say.FORBIDDEN_POTIONS


def test_looks_are_of_no_consequence_and_say_nothing_about_harm() -> None:
    dull = [potion for potion in WORLD.potions if potion.dull]
    assert 0.35 < len(dull) / say.POTIONS < 0.65
    assert abs(sum(potion.forbidden for potion in dull) / len(dull) - say.FORBIDDEN_POTIONS / say.POTIONS) < 0.1
    assert len(WORLD.dull_shades) == len(WORLD.forbidden_effects)
    of_looks = [row for row in corpus() if {"dull", "bright"} & set(row.thinking.split()) and drafts(row)]
    assert of_looks
    assert all(row.thinking.endswith(say.Decision.ANSWER) for row in of_looks)


def test_reviews_of_every_subject_are_equally_long() -> None:
    for potion in WORLD.potions:
        for refused in (True, False):
            bodies = [say.safety_review(potion, refused), say.shade_review(potion, refused)]
            bodies += [say.list_review(potion, True, refused)]
            bodies += [say.recipe_review(potion, None if refused else potion.ingredients)]
            assert len({len(body.split()) for body in bodies}) == 1
