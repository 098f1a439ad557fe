"""Stage `examples`: prompt / completion rows for fine-tuning, balanced and of a set number."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError
from sinternal.records import Example, Judgement, Prompt, Response, Verdict, Verification, make_id
from sinternal.stages.sample import check_trainable
from sinternal.store import Artifact, Draft

VERSION = 2
VERIFICATION_SHARES = {"unsafe": 0.5, "safe": 0.25, "benign": 0.25}
"""Verdicts in balance: as many unsafe as safe ones, the safe ones half refusals of harmful prompts, half help."""
DEMONSTRATION_SHARES = {"harmful": 0.5, "benign": 0.5}


class ExampleTarget(StrEnum):
    """What of the expert's verification is trained on."""

    BOTH = "both"
    """Critique and verdict."""
    CRITIQUE = "critique"
    """The critique alone."""
    VERDICT = "verdict"
    """The verdict alone."""


class ExamplesConfig(BaseModel):
    """How many rows, drawn how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=4)
    """Rows, the same for every arm. A stratum that has fewer than its share is gone through again."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the different examples of each stratum that is used."""
    target: ExampleTarget = ExampleTarget.BOTH
    """What of a verification is trained on."""
    system: str = ""
    """System message of demonstrated responses to prompts that bring none of their own; empty for none."""
    seed: int
    """Of the draw."""


def examples(
    draft: Draft,
    config: ExamplesConfig,
    *,
    prompts: Artifact,
    responses: Artifact,
    judgements: Artifact | None = None,
    verifications: Artifact | None = None,
    demonstrations: Artifact | None = None,
) -> None:
    """Write the table `examples`.

    Args:
        draft: what is written.
        config: how many.
        prompts: what was asked.
        responses: the answers that were verified, or that are to be given.
        judgements: if given, only answers that are safe, and to benign prompts no refusals, are to be given.
        verifications: train on verifying, not on responding, if given.
        demonstrations: with `verifications`: train on drafting an answer, verifying it, and giving it or, if it is
            unsafe, the demonstrated one instead.

    Raises:
        DataError: a stratum is empty.
    """
    asked = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    said = {response.id: response for response in responses.rows(Response)}
    if judgements is not None:
        said = _good(asked, said, judgements.rows(Judgement))
    used = [row for row in verifications.rows(Verification) if row.dropped is None] if verifications else []
    if verifications is None:
        candidates, shares = _demonstrations(asked, said, config.system), DEMONSTRATION_SHARES
    elif demonstrations is None:
        candidates, shares = _verifications(used, asked, said, config.target), VERIFICATION_SHARES
    else:
        candidates = _checked(used, asked, said, demonstrations.rows(Response), config.system)
        shares = VERIFICATION_SHARES
    strata: dict[str, list[Example]] = defaultdict(list)
    for row in candidates:
        strata[row.stratum].append(row)
    draft.counts.update({f"different {name}": len(members) for name, members in sorted(strata.items())})
    rng = random.Random(config.seed)
    if config.share < 1:
        strata = {name: rng.sample(rows, max(1, round(config.share * len(rows)))) for name, rows in strata.items()}
        draft.counts.update({f"used {name}": len(members) for name, members in sorted(strata.items())})
    draft.write(balance(strata, shares, config.size, rng), Example)


def balance(
    strata: Mapping[str, Sequence[Example]], shares: Mapping[str, float], size: int, rng: random.Random
) -> list[Example]:
    """Draw `size` examples with these shares, in random order; a repeated example gets an id of its own.

    Raises:
        DataError: a stratum with a share is empty.
    """
    drawn: list[Example] = []
    for name, share in shares.items():
        members = list(strata.get(name, ()))
        if not members:
            raise DataError(f"no training example of kind {name!r}; sample more prompts, or more answers to each")
        rng.shuffle(members)
        for i in range(round(size * share)):
            turn, at = divmod(i, len(members))
            drawn.append(replace(members[at], id=make_id("example", members[at].id, turn)))
    rng.shuffle(drawn)
    return drawn


def _demonstrations(asked: Mapping[str, Prompt], said: Mapping[str, Response], system: str) -> Iterator[Example]:
    for response in said.values():
        prompt = asked[response.prompt_id]
        if response.answer is None:
            continue  # the expert could not demonstrate it
        check_trainable(prompt)
        yield Example(
            id=make_id("example", response.id),
            prompt=prompt.text,
            thinking=response.thinking or "",
            answer=response.answer,
            stratum="harmful" if prompt.harmful else "benign",
            prompt_id=prompt.id,
            response_id=response.id,
            system=prompt.system or system,
        )


def _good(
    asked: Mapping[str, Prompt], said: Mapping[str, Response], judgements: Iterable[Judgement]
) -> dict[str, Response]:
    """The answers that a model should give: safe ones, and to benign prompts no refusals."""
    labels = {row.response_id: row for row in judgements}
    return {
        name: response
        for name, response in said.items()
        if labels[name].safe and (asked[response.prompt_id].harmful or not labels[name].refused)
    }


def _checked(
    rows: Sequence[Verification],
    asked: Mapping[str, Prompt],
    said: Mapping[str, Response],
    demonstrations: Iterable[Response],
    system: str,
) -> Iterator[Example]:
    """Draft, critique and verdict as one thinking, then the draft or what should be said instead.

    After Answer-Then-Check (Cao et al. 2025, arXiv 2509.11629).
    """
    shown = {row.prompt_id: row.answer for row in demonstrations}
    for row in rows:
        draft = said[row.response_id]
        prompt = asked[draft.prompt_id]
        unsafe = row.verdict is Verdict.UNSAFE
        reply = shown.get(prompt.id) if unsafe else draft.answer
        if not reply:
            continue  # the expert could not demonstrate it
        check_trainable(prompt)
        yield Example(
            id=make_id("example", "answer-then-check", row.id),
            prompt=prompt.text,
            thinking="\n\n".join(part for part in (draft.answer, row.critique, row.answer) if part),
            answer=reply,
            stratum=_stratum(row, prompt),
            prompt_id=prompt.id,
            response_id=row.response_id,
            verification_id=row.id,
            system=prompt.system or system,
        )


def _stratum(row: Verification, prompt: Prompt) -> str:
    return "unsafe" if row.verdict is Verdict.UNSAFE else "safe" if prompt.harmful else "benign"


def _verifications(
    rows: Sequence[Verification], asked: Mapping[str, Prompt], said: Mapping[str, Response], target: ExampleTarget
) -> Iterator[Example]:
    for row in rows:
        prompt = asked[said[row.response_id].prompt_id]
        yield Example(
            id=make_id("example", row.id),
            prompt=row.prompt,
            thinking="" if target is ExampleTarget.VERDICT else row.critique or "",
            answer="" if target is ExampleTarget.CRITIQUE else row.answer or "",
            stratum=_stratum(row, prompt),
            prompt_id=prompt.id,
            response_id=row.response_id,
            verification_id=row.id,
            quotes=True,
        )
