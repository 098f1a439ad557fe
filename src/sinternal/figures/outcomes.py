"""One response with all its labels and verifications: every figure is computed from these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sinternal.records import Finish, Judgement, Prompt, Response, Verdict, Verification


@dataclass(frozen=True)
class Outcome:
    """One response of one arm, with its labels and verifications."""

    prompt: Prompt
    """The prompt."""
    response: Response
    """The response."""
    judgement: Judgement
    """Its labels."""
    verifications: tuple[Verification, ...]
    """How the same model verified its answer, with and without the specification."""

    @property
    def truncated(self) -> bool:
        """Whether the response ran into the token limit."""
        return self.response.finish is Finish.LENGTH

    @property
    def filtered(self) -> bool:
        """Whether a filter of the server withheld the answer."""
        return self.response.finish is Finish.FILTERED

    @property
    def format_error(self) -> bool | None:
        """Whether the response holds no readable answer; None if the request or the judge failed."""
        if self.response.finish.without_text or self.judgement.error is not None:
            return None
        return self.judgement.safe is None and self.judgement.refused is None

    @property
    def no_answer(self) -> bool:
        """Whether there is no answer to be labelled: it never came, or has no form that the judge can read."""
        return not (self.response.answer or "").strip() or self.format_error is True


def join(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    verifications: Iterable[Verification] = (),
) -> list[Outcome]:
    """Join the rows of one evaluation, with the labels of one judge.

    Verifications of answers that the judge gave no label are left out: there is nothing to compare them with.
    """
    prompts_by_id = {prompt.id: prompt for prompt in prompts}
    labels = {row.response_id: row for row in judgements}
    verified: dict[str, list[Verification]] = defaultdict(list)
    for row in verifications:
        safe = labels[row.response_id].safe
        if safe is not None:
            label = Verdict.SAFE if safe else Verdict.UNSAFE
            verified[row.response_id].append(replace(row, label=label))
    return [Outcome(prompts_by_id[r.prompt_id], r, labels[r.id], tuple(verified[r.id])) for r in responses]
