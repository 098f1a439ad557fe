"""What an adaptive attack asks: a kind of row of its own, beside those of `sinternal.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """One query of an adaptive attack: what it sends to the model under attack, or that it sends nothing this time."""

    id: str
    """Stable id."""
    prompt_id: str
    """The plain prompt whose request it is after."""
    number: int
    """Its number among the queries for that prompt, from 0."""
    text: str | None
    """The user's message; None if the attack has nothing to send, which uses up the query all the same."""
    system: str = ""
    """The system message before it; empty for that of the prompt."""
    prefill: str = ""
    """Text that the assistant's turn is made to begin with; empty for none."""
    note: str = ""
    """What the attack keeps to itself, for its later queries for this prompt."""
    error: str | None = None
    """Why there is nothing to send, if the attack's own model failed: nothing is then known of the model attacked."""
