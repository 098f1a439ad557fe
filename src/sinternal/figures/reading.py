"""From artifacts to columns: every table of an arm and seed is read once, for all figures that need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sinternal.errors import StoreError
from sinternal.figures.columns import MISSING, Labels, Names, Numbers
from sinternal.figures.outcomes import JUDGEMENT, PROMPT, RESPONSE, VERIFICATION, Judged, Outcomes, Table, Verdicts
from sinternal.layout import ArmPlace, Place, RunMap
from sinternal.prompting.think import opening_mark, opening_tag
from sinternal.records import Judgement, Prompt, Response, Verification
from sinternal.store import Artifact


class Openings(NamedTuple):
    """Answers that begin as a thinking does, so that they may be none."""

    answers: int
    """Answers."""
    tagged: int
    """Of these, those that begin with a tag that opens the thinking of some published model."""
    example: str
    """The tag of the first of them; empty if there is none."""
    alike: int = 0
    """Those that begin with the same other mark, the most frequent one."""
    mark: str = ""
    """That mark; empty if there is none."""

    @classmethod
    def of(cls, answers: Iterable[str | None]) -> Openings:
        """Count them; None is no answer."""
        given = [answer for answer in answers if answer is not None]
        tags = [tag for answer in given if (tag := opening_tag(answer))]
        ((mark, alike),) = Counter(filter(None, map(opening_mark, given))).most_common(1) or [("", 0)]
        return cls(len(given), len(tags), tags[0] if tags else "", alike, mark or "")

    @classmethod
    def together(cls, several: Sequence[Openings]) -> Openings:
        """Those of several seeds."""
        example = next((one.example for one in several if one.example), "")
        mark = max(several, key=lambda one: one.alike).mark if several else ""
        alike = sum(one.alike for one in several if one.mark == mark)
        return cls(sum(one.answers for one in several), sum(one.tagged for one in several), example, alike, mark)


@dataclass(frozen=True)
class Evaluated:
    """One arm and seed, measured."""

    outcomes: Outcomes
    """Its responses, labelled by the first judge."""
    verdicts: Verdicts
    """How it verified them."""
    judged: Mapping[str, Judged]
    """Every judge's labels of the responses."""
    response: Numbers
    """The responses, by number, where there are several judges: the same text of two arms is one response."""
    judged_in_turn: Mapping[str, Numbers]
    """The responses in the order of each judge's table, by place."""
    rewarding: Labels | None
    """Whether the judge that rewarded calls them safe, if it is another than the first."""
    openings: Openings
    """How its answers begin."""


class Reader:
    """Reads the arms of one run, whose names have the same numbers throughout."""

    def __init__(self, run: RunMap[Artifact], judges: Sequence[str]) -> None:
        """Take a run, and its judges, the one that decides first."""
        self.run, self.judges = run, judges
        self.names, self._ids = Names(), Names()
        self._prompts: dict[Place, Table] = {}

    def arms(self) -> dict[ArmPlace, Evaluated]:
        """Every arm, variant and seed."""
        read = {place: self._arm(place) for place in self.run.arms()}
        self._ids = Names()  # the numbers are enough
        return read

    def outcomes(self, prompts: Artifact, responses: Artifact, judgements: Artifact) -> Outcomes:
        """Responses that one judge labelled, and that nobody verified."""
        answers = responses.columns(Response, *RESPONSE)
        labels = _in_their_order(judgements, _places(answers["id"]))
        return self._join(prompts.columns(Prompt, *PROMPT), answers, labels.rows)

    def _arm(self, place: ArmPlace) -> Evaluated:
        arm, of_seed = self.run.arm(place), Place(place.variant, place.seed)
        if of_seed not in self._prompts:
            self._prompts[of_seed] = self.run[of_seed].evaluation_prompts.columns(Prompt, *PROMPT)
        responses = arm.responses.columns(Response, *RESPONSE)
        at = _places(responses["id"])
        labels = {judge: _in_their_order(arm.judgements[judge], at) for judge in self.judges}
        outcomes = self._join(self._prompts[of_seed], responses, labels[self.judges[0]].rows)
        verifications = arm.verifications.columns(Verification, *VERIFICATION)
        of_rows = np.array([at[response] for response in verifications["response_id"]], dtype=np.int64)
        return Evaluated(
            outcomes=outcomes,
            verdicts=Verdicts.join(verifications, of_rows, outcomes),
            judged={judge: Judged.read(table.rows) for judge, table in labels.items()},
            response=self._ids.numbers(responses["id"]) if len(self.judges) > 1 else np.zeros(0, dtype=np.int64),
            judged_in_turn={judge: table.in_turn for judge, table in labels.items()},
            rewarding=_safe(arm.rewarding, at) if arm.rewarding else None,
            openings=Openings.of(responses["answer"]),
        )

    def _join(self, prompts: Table, responses: Table, judgements: Table) -> Outcomes:
        at = _places(prompts["id"])
        of_prompts = np.array([at[prompt] for prompt in responses["prompt_id"]], dtype=np.int64)
        return Outcomes.join(prompts, responses, judgements, of_prompts=of_prompts, names=self.names)


class _Labels(NamedTuple):
    """A judge's table, put in order."""

    rows: Table
    """Its rows, in the order of the responses."""
    in_turn: Numbers
    """The responses in the order of the table, by place."""


def _in_their_order(judgements: Artifact, at: Mapping[str, int]) -> _Labels:
    table = judgements.columns(Judgement, *JUDGEMENT)
    in_turn = np.array([at[response] for response in table["response_id"]], dtype=np.int64)
    rows = np.full(len(at), MISSING, dtype=np.int64)
    rows[in_turn] = np.arange(len(in_turn))
    if (rows == MISSING).any():
        raise StoreError(
            f"{judgements.path}: it labels other responses than there are; delete its folder and run again"
        )
    return _Labels({name: column[rows] for name, column in table.items()}, in_turn)


def _safe(judgements: Artifact, at: Mapping[str, int]) -> Labels:
    table = judgements.columns(Judgement, "response_id", "safe")
    safe = np.full(len(at), MISSING, dtype=np.int8)
    safe[[at[response] for response in table["response_id"]]] = table["safe"]
    return safe


def _places(ids: Iterable[str]) -> dict[str, int]:
    return {identity: place for place, identity in enumerate(ids)}
