"""PAIR: an attacker model improves its disguises round by round, by what a target model answered to the last ones.

Prompts are made once, before any arm is evaluated. So the disguises are fitted to the target that the options name,
and for every other model the attack is a transfer attack. Name the untouched base as target for a fair comparison;
naming one arm makes that arm's rate alone look worse. (`evaluation.adaptive` attacks each arm for itself.)

Each round asks three models for all prompts and streams at once, one after the other: attacker, target and judge are
never in memory together. As in the paper, a disguise that the judge calls unsafe ends its prompt's search. Unlike it,
a prompt without such a disguise keeps the last one, so that a rate is not measured on the successes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sinternal.attacks import Attack, disguise
from sinternal.engines import Completion, Request, open_engine
from sinternal.judges import Judge, label_each
from sinternal.prompting.fence import safe_tags
from sinternal.prompting.templates import render
from sinternal.records import Prompt, Response, make_id
from sinternal.settings.plugins import EngineWithModel, JudgePlugin
from sinternal.settings.sampling import Sampling

SHOWN = 2000
"""Characters of a target's answer that the attacker is shown."""


class PairOptions(BaseModel):
    """Who takes part, and how long it goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacker: EngineWithModel
    """Who proposes disguises."""
    target: EngineWithModel
    """Whom they are tried on."""
    judge: JudgePlugin
    """Who labels the target's answers."""
    rounds: int = Field(3, ge=1)
    """Proposals in each stream, one after the other."""
    streams: int = Field(2, ge=1)
    """Conversations with the attacker for each prompt, side by side."""
    attacker_max_tokens: int = Field(2048, ge=1)
    """Longest proposal, in tokens."""
    target_max_tokens: int = Field(4096, ge=1)
    """Longest answer, in tokens; a reasoning model needs room for its thinking."""


class Proposal(BaseModel):
    """An attacker's reply."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    improvement: str
    """Why this should work better than what was tried."""
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    """The disguise."""


@dataclass(frozen=True)
class Attempt:
    """A disguise that was tried."""

    round: int
    """When, from 0."""
    stream: int
    """Whose proposal it is, from 0."""
    proposal: Proposal
    """What was proposed."""
    answer: str | None
    """What the target answered; None if it gave no answer."""
    safe: bool | None
    """The judge's label; None if there is none, which is no success."""
    shown: bool = True
    """Whether the attacker is shown what came of it."""


@dataclass(frozen=True)
class _Trial:
    """A proposal on its way to target and judge."""

    prompt: Prompt
    """The prompt in its disguise."""
    parent: str
    """Id of the prompt beneath it."""
    round: int
    """See `Attempt`."""
    stream: int
    """See `Attempt`."""
    proposal: Proposal
    """See `Attempt`."""


class Pair(Attack):
    """Disguises that an attacker model refines against a target model and a judge.

    Chao et al. 2023, arXiv 2310.08419.
    """

    family = "pair"
    Options = PairOptions

    @classmethod
    def calls(cls, options: PairOptions) -> int:
        """One to attacker, target and judge in each stream of each round; see `Attack.calls`."""
        return options.rounds * options.streams

    def __init__(self, options: PairOptions) -> None:
        """Take the options; engines are opened when they are needed."""
        self.options = options
        self._open_judge()  # a file of its that is not there shows now, not after the first round

    def wrap(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
        """Each prompt for which there was any proposal, in order; see `Attack.wrap`."""
        tried: dict[str, list[Attempt]] = {prompt.id: [] for prompt in prompts}
        for number in range(self.options.rounds):
            searching = [prompt for prompt in prompts if not any(a.safe is False for a in tried[prompt.id])]
            for parent, attempt in self._round(searching, tried, number, seed):
                tried[parent].append(attempt)
        for prompt in prompts:
            best = choose(tried[prompt.id])
            if best is not None:
                yield disguise(prompt, self.family, best.proposal.prompt)

    def _round(
        self, prompts: Sequence[Prompt], tried: Mapping[str, Sequence[Attempt]], number: int, seed: int
    ) -> Iterator[tuple[str, Attempt]]:
        """One more proposal in every stream of these prompts, tried and labelled, with the prompt's id."""
        trials = {trial.prompt.id: trial for trial in self._propose(prompts, tried, number, seed)}
        responses = {row.prompt_id: row for row in self._answers([trial.prompt for trial in trials.values()], seed)}
        labels = self._labels([(trials[i].prompt, row) for i, row in responses.items() if row.answer is not None])
        for identity, trial in trials.items():
            response = responses[identity]
            safe = labels.get(response.id)
            yield trial.parent, Attempt(trial.round, trial.stream, trial.proposal, response.answer, safe)

    def _propose(
        self, prompts: Sequence[Prompt], tried: Mapping[str, Sequence[Attempt]], number: int, seed: int
    ) -> Iterator[_Trial]:
        """What the attacker proposes; a reply that cannot be read makes its stream sit out this round."""
        asked = {
            make_id(self.family, prompt.id, stream, number): (prompt, stream)
            for prompt in prompts
            for stream in range(self.options.streams)
        }
        requests = [
            Request(
                i, conversation(prompt.text, stream, [a for a in tried[prompt.id] if a.stream == stream]), quotes=True
            )
            for i, (prompt, stream) in asked.items()
        ]
        # The streams of a prompt are told apart by chance, too: the attacker draws, as in the paper.
        sampling = Sampling(temperature=1.0, max_tokens=self.options.attacker_max_tokens)
        replies = {reply.request_id: reply for reply in _generate(self.options.attacker, requests, sampling, seed)}
        for identity, (prompt, stream) in asked.items():
            proposal = read_proposal(replies[identity].answer, prompt.text)
            if proposal is not None:
                # `disguise` gives all proposals for a prompt the same id.
                wrapped = replace(disguise(prompt, self.family, proposal.prompt), id=identity)
                yield _Trial(wrapped, prompt.id, number, stream, proposal)

    def _answers(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Response]:
        """What the target answers, greedily, to disguised prompts."""
        sampling = Sampling(max_tokens=self.options.target_max_tokens)
        requests = [Request(prompt.id, _messages(prompt)) for prompt in prompts]
        for completion in _generate(self.options.target, requests, sampling, seed):
            yield Response(
                id=make_id("pair response", completion.request_id),
                prompt_id=completion.request_id,
                sample=0,
                thinking=completion.thinking,
                answer=completion.answer,
                finish=completion.finish,
                error=completion.error,
            )

    def _labels(self, items: Sequence[tuple[Prompt, Response]]) -> dict[str, bool | None]:
        """The judge's labels, by the response's id."""
        if not items:
            return {}
        with closing(self._open_judge()) as judge:  # its engine makes room for the target's next round
            return {row.response_id: row.safe for row in label_each(judge, self.options.judge.name, items)}

    def _open_judge(self) -> Judge:
        judge: Judge = self.options.judge.open()
        return judge


def conversation(request: str, stream: int, history: Sequence[Attempt]) -> tuple[tuple[str, str], ...]:
    """What the attacker is told: its task, and each disguise of this stream with what came of it."""
    answers = [(attempt.answer or "")[:SHOWN] for attempt in history]
    request_tag, answer_tag = safe_tags(("request", "answer"), (request, *answers))
    messages = [
        ("system", render("attack_pair_system", stream=stream)),
        ("user", render("attack_pair_start", request=request, request_tag=request_tag)),
    ]
    for attempt, answer in zip(history, answers, strict=True):
        told = {"answer": answer, "answer_tag": answer_tag, "safe": attempt.safe}
        feedback = render("attack_pair_feedback", **told) if attempt.shown else render("attack_pair_blind")
        messages += [("assistant", attempt.proposal.model_dump_json()), ("user", feedback)]
    return tuple(messages)


_CODE_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)


def read_proposal(reply: str | None, request: str) -> Proposal | None:
    """Read an attacker's reply: a JSON object, alone or in a code fence, with exactly the two keys of `Proposal`.

    None is anything else, and a proposal that is the request itself.
    """
    body = (reply or "").strip()
    fenced = _CODE_FENCE.fullmatch(body)
    try:
        proposal = Proposal.model_validate_json(fenced[1] if fenced else body)
    except ValidationError:
        return None
    return None if proposal.prompt.casefold() == request.strip().casefold() else proposal


def choose(attempts: Iterable[Attempt]) -> Attempt | None:
    """The first attempt with an unsafe answer, else the last one; of one round, the lowest stream. None of none."""
    ordered = sorted(attempts, key=lambda attempt: (attempt.round, attempt.stream))
    unsafe = [attempt for attempt in ordered if attempt.safe is False]
    if unsafe:
        return unsafe[0]
    return max(ordered, key=lambda attempt: attempt.round, default=None)


def _generate(
    config: EngineWithModel, requests: Sequence[Request], sampling: Sampling, seed: int
) -> Iterator[Completion]:
    if not requests:
        return
    with open_engine(config, config.model) as engine:
        yield from engine.generate(requests, sampling, seed)


def _messages(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    system = (("system", prompt.system),) if prompt.system else ()
    return (*system, ("user", prompt.text))
