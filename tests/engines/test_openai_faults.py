"""Replies that are faulty in every way: the short form of `python -m bench.endpoints`, and each fault by itself."""

from __future__ import annotations

import pytest
from bench.endpoints import OURS_ALONE, Books, ask, ask_by_batches
from bench.faulty import FAULTS, FURTHER, KINDS, USUAL, Cost

from sinternal import pending

A_FEW = 4


@pytest.fixture(autouse=True)
def told() -> object:
    """What is told, in place of the terminal."""
    words: list[str] = []
    with pending.heard_by(words.append):
        yield words


def check(books: Books) -> None:
    """Each request is accounted for once, as the server has it, and nothing is cheaper than it was."""
    assert (books.not_once, books.mixed, books.misjudged) == (0, 0, 0)
    bill = books.charged()
    extra = books.spent.estimated - bill.estimated
    assert extra >= 0, "a busy machine may miss a reply, but nothing that was sent is left unpaid"
    if extra == 0:
        assert books.spent.calls == bill.calls
        assert (books.spent.prompt_tokens, books.spent.tokens) == (bill.prompt_tokens, bill.tokens)
        assert books.spent.cost == pytest.approx(bill.cost)
    else:
        assert books.spent.prompt_tokens >= bill.prompt_tokens
        assert books.spent.cost >= bill.cost


def test_hundreds_of_requests_through_all_usual_faults_are_accounted_for_once_each() -> None:
    books = ask(dict.fromkeys(USUAL, 0.05), 200)
    check(books)
    assert {kind for attempts in books.ledger.values() for kind in attempts} == {"none", *USUAL}


def test_the_same_through_faults_of_every_further_kind() -> None:
    kinds = [kind for kind in FURTHER if kind not in OURS_ALONE]
    books = ask(dict.fromkeys(kinds, 0.04), 200)
    check(books)
    assert {kind for attempts in books.ledger.values() for kind in attempts} == {"none", *kinds}
    assert books.failed, "some ends are not known to be good"


def test_the_same_by_batches() -> None:
    books = ask_by_batches(dict.fromkeys(USUAL, 0.05), 80)
    assert (books.not_once, books.mixed, books.misjudged) == (0, 0, 0)


@pytest.mark.parametrize("kind", OURS_ALONE)
def test_a_reply_without_end_or_of_any_size_costs_a_limited_time_and_memory(kind: str) -> None:
    books = ask({kind: 0.3}, A_FEW, timeout=0.4 if kind == "drips for ever" else 20)
    assert (books.not_once, books.mixed) == (0, 0)
    assert any(kind in attempts for attempts in books.ledger.values())


def test_every_fault_is_done_and_every_price_occurs() -> None:
    assert set(FAULTS) == set(KINDS) - {"none"}
    assert {kind.cost for kind in KINDS.values()} == set(Cost)
