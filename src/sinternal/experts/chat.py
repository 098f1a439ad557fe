"""An expert that is a chat model: it is asked by templates, and strict readers take its replies apart.

By default it never learns the judge's label, so that a verdict which agrees with the label is evidence about both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from sinternal.engines import Completion, Request, open_engine
from sinternal.experts import Demonstration, Expert, ExpertReply, Question, Subject
from sinternal.prompting.fence import safe_tags
from sinternal.prompting.question import Quotation, SpecificationOptions
from sinternal.prompting.templates import render
from sinternal.prompting.think import fits_thinking, read_label
from sinternal.records import Finish, Prompt
from sinternal.settings.plugins import EngineWithModel
from sinternal.settings.sampling import Sampling

UNREADABLE = "a reply that is not `Reasoning:` and its reasoning, then `Answer:` and the answer"
TRUNCATED, EMPTY = "a reply that ran into max_tokens", "an empty reply"


class ChatOptions(SpecificationOptions):
    """Who the expert is, and what it is told. The specification is for demonstrations; questions bring their own."""

    engine: EngineWithModel
    """Who runs the expert, and which model it is."""
    temperature: float = Field(default=0.7, ge=0)
    """0 is greedy. An unreadable critique is asked for once more, which at 0 may well give the same text again."""
    max_tokens: int = Field(2048, ge=1)
    """Longest reply, in tokens; a reasoning model needs room for its own thinking too."""
    tell_label: bool = False
    """Whether the expert is told the judge's label or, for a placebo, the right verdict where that is known. Then few
    verdicts are rejected, and fewer mistakes are found."""


class ChatExpert(Expert):
    """Writes critiques and demonstrations with a chat model."""

    Options = ChatOptions
    subjects = frozenset(Subject)

    def __init__(self, options: ChatOptions) -> None:
        """Read the specification; the engine is opened when there is something to ask."""
        self.options = options
        self._quotation = Quotation(options)

    def verify(self, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        """Verify each answer; see `Expert.verify`.

        A reply that does not end in a verdict is handed on whole, as thinking with an empty answer.
        """
        asked = {question.response.id: question for question in questions}
        requests = {identity: self._verify_request(question) for identity, question in asked.items()}
        for reply in self._replies(requests, seed):
            question = asked[reply.request_id]
            yield question, read_critique(reply, question.labels)

    def demonstrate(
        self, prompts: Sequence[Prompt], kind: Demonstration, seed: int
    ) -> Iterator[tuple[Prompt, ExpertReply]]:
        """Respond to each prompt; see `Expert.demonstrate`. A reply of the wrong form comes back as an error.

        All kinds are asked in one form and read by one reader: they differ in what the thinking is about alone.
        """
        asked = {prompt.id: prompt for prompt in prompts}
        requests = {identity: self._demonstration_request(prompt, kind) for identity, prompt in asked.items()}
        for reply in self._replies(requests, seed):
            yield asked[reply.request_id], read_demonstration(reply)

    def _verify_request(self, question: Question) -> Request:
        hint = [_hint(question)] if self.options.tell_label else []
        about_safety = question.subject is Subject.SAFETY
        system = render("expert_verify") if about_safety else render("expert_placebo", subject=question.subject)
        return _request(question.response.id, system, "\n\n".join(filter(None, [question.expert_text, *hint])))

    def _demonstration_request(self, prompt: Prompt, kind: Demonstration) -> Request:
        (tag,) = safe_tags(("request",), (prompt.text,))
        if kind is Demonstration.REFUSAL:
            system = render("expert_refusal")
        else:
            system = render(_DELIBERATIONS[kind], specification=self._quotation.about(prompt.text))
        return _request(prompt.id, system, render("expert_request", request=prompt.text, request_tag=tag))

    def _replies(self, requests: Mapping[str, Request], seed: int) -> Iterator[Completion]:
        if not requests:
            return
        sampling = Sampling.model_validate(self.options.model_dump(include={"temperature", "max_tokens"}))
        with open_engine(self.options.engine, self.options.engine.model) as engine:
            yield from engine.generate(requests.values(), sampling, seed)


_DELIBERATIONS = {
    Demonstration.DELIBERATIVE: "expert_deliberative",
    Demonstration.DELIBERATIVE_REVIEWS: "expert_deliberative_reviews",
    Demonstration.DELIBERATIVE_CHECKS: "expert_deliberative_checks",
}
"""The template that asks for each kind of demonstration that cites the specification."""


def _hint(question: Question) -> str:
    """What an expert may be told beside the question; empty if nothing is known."""
    if question.subject is Subject.SAFETY:
        return render("expert_label", label=question.label.value)
    return "" if question.right is None else render("expert_right", label=question.right)


def read_critique(completion: Completion, labels: tuple[str, str]) -> ExpertReply:
    """Take a critique and its verdict line apart; the model's own thinking is no part of it.

    Only a reply that was finished counts: in a truncated one, the last line may be a quotation. Two verdicts one below
    the other that contradict each other are none.
    """
    if completion.error is not None:
        return ExpertReply("", "", completion.error, completion.finish is Finish.FILTERED)
    reply = (completion.answer or "").strip()
    label = read_label(completion.whole_answer, labels)
    critique = reply.rpartition("\n")[0].strip()
    said_before = read_label(critique, labels)
    if label is None or said_before not in (None, label) or not critique or not fits_thinking(critique):
        return ExpertReply(reply, "")
    return ExpertReply(critique, f"Verdict: {label}")


_ANSWER_LINE = re.compile(r"^Answer:", re.MULTILINE)


def read_demonstration(completion: Completion) -> ExpertReply:
    """Split a reply into what stands after `Reasoning:` and what stands after `Answer:`, which must be unmistakable."""
    error, reply = _failure(completion), (completion.answer or "").strip()
    if error is not None:
        return ExpertReply("", reply, error, completion.finish is Finish.FILTERED)
    if not reply:
        return ExpertReply("", "", EMPTY)
    before, *after = _ANSWER_LINE.split(reply)
    thinking = before.removeprefix("Reasoning:").strip()
    answer = "".join(after).strip()
    formed = before.startswith("Reasoning:") and len(after) == 1
    if not (formed and answer and thinking and fits_thinking(thinking)):
        return ExpertReply("", reply, UNREADABLE)
    return ExpertReply(thinking, answer)


def _failure(completion: Completion) -> str | None:
    return completion.error or (TRUNCATED if completion.finish is Finish.LENGTH else None)


def _request(identity: str, system: str, user: str) -> Request:
    return Request(identity, (("system", system), ("user", user)), quotes=True)
