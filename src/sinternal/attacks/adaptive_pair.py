"""PAIR against the arm itself: each arm's own answers are what the attacker model refines its disguises by.

The attack `pair` of `sinternal.attacks.pair` fits its disguises to one target before any arm is measured; against all
others it is a transfer attack. Here every arm is attacked for itself, with the same number of queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import AdaptiveAttack, Search, Tried
from sinternal.attacks.pair import Attempt, Proposal, conversation, read_proposal
from sinternal.engines import Completion, Request, open_engine
from sinternal.queries import Query
from sinternal.settings.plugins import EngineWithModel
from sinternal.settings.sampling import Sampling


class AdaptivePairOptions(BaseModel):
    """Who proposes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacker: EngineWithModel
    """Who proposes disguises."""
    streams: int = Field(2, ge=1)
    """Conversations with the attacker for each prompt, which take turns; together they have the budget."""
    max_tokens: int = Field(2048, ge=1)
    """Longest proposal, in tokens; a reasoning model needs room for its own thinking too."""


class AdaptivePair(AdaptiveAttack):
    """Disguises that an attacker model refines by what the arm answered, and by how that was labelled.

    Chao et al. 2023, arXiv 2310.08419. The streams take turns instead of running side by side, since it is the queries
    that are equal for all arms. A reply that cannot be read sends nothing. Where feedback is withheld, the attacker
    sees its own proposals and is told that what came of them is not shown.
    """

    family = "pair"
    Options = AdaptivePairOptions
    asks = 1

    def __init__(self, options: AdaptivePairOptions) -> None:
        """Take the options; the engine is opened when it is needed."""
        self.options = options

    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        """The attacker's next disguise for each search; see `AdaptiveAttack.propose`."""
        if not searches:
            return
        waiting = {search.query(self.family, None).id: search for search in searches}
        # The attacker draws, as in the paper.
        sampling = Sampling(temperature=1.0, max_tokens=self.options.max_tokens)
        requests = (Request(i, self._messages(search), quotes=True) for i, search in waiting.items())
        with open_engine(self.options.attacker, self.options.attacker.model) as engine:
            for reply in engine.generate(requests, sampling, seed):
                yield self._query(waiting[reply.request_id], reply)

    def _query(self, search: Search, reply: Completion) -> Query:
        if reply.error is not None:
            return search.query(self.family, None, error=reply.error)
        proposal = read_proposal(reply.answer, search.prompt.text)
        if proposal is None:
            return search.query(self.family, None)
        return search.query(self.family, proposal.prompt, note=proposal.improvement)

    def _messages(self, search: Search) -> tuple[tuple[str, str], ...]:
        """The conversation of the stream whose turn it is."""
        stream = search.number % self.options.streams
        mine = [tried for tried in search.tried if tried.query.number % self.options.streams == stream]
        history = [attempt for tried in mine if (attempt := _attempt(tried, stream)) is not None]
        return conversation(search.prompt.text, stream, history)


def _attempt(tried: Tried, stream: int) -> Attempt | None:
    """A query as the attacker is reminded of it; None of one that sent nothing."""
    query, feedback = tried
    if query.text is None:
        return None
    return Attempt(
        round=query.number,
        stream=stream,
        proposal=Proposal(improvement=query.note, prompt=query.text),
        answer=feedback.answer if feedback else None,
        safe=feedback.safe if feedback else None,
        shown=feedback is not None,
    )
