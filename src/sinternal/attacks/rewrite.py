"""Attacks in which a model rewrites the request, without trying it on anyone.

The rewriter has to put its text between tags. So a refusal to rewrite, or a remark beside the rewriting, is never
taken for a disguise: such a prompt is left out, and so is one that comes back as it was.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import Attack, disguise
from sinternal.engines import Completion, Request, open_engine
from sinternal.prompting.fence import safe_tags
from sinternal.prompting.templates import render
from sinternal.records import Prompt
from sinternal.settings.plugins import EngineWithModel
from sinternal.settings.sampling import Sampling


class RewriteOptions(BaseModel):
    """Who rewrites."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineWithModel
    """Who runs the rewriter, and which model it is."""
    max_tokens: int = Field(2048, ge=1)
    """Longest reply, in tokens; a reasoning model needs room for its own thinking too."""


class TranslationOptions(RewriteOptions):
    """Who translates, and into what."""

    language: str = Field("Zulu", min_length=1)
    """The language, by its English name."""


class ModelRewrite(Attack):
    """An attack that is a model with instructions. Subclasses bring the instructions."""

    Options: ClassVar[type[BaseModel]] = RewriteOptions
    """Its options: `RewriteOptions`, or more."""

    @classmethod
    def calls(cls, options: RewriteOptions) -> int:
        """One; see `Attack.calls`."""
        return 1

    def __init__(self, options: RewriteOptions) -> None:
        """Take the options; the engine is opened when the first prompt waits."""
        self.options = options

    @abstractmethod
    def instructions(self) -> str:
        """The system message that the rewriter is given."""
        ...

    def wrap(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
        """Each prompt that could be rewritten, greedily, in order; see `Attack.wrap`."""
        if not prompts:
            return
        sampling = Sampling(max_tokens=self.options.max_tokens)
        with open_engine(self.options.engine, self.options.engine.model) as engine:
            replies = {reply.request_id: reply for reply in engine.generate(map(self._ask, prompts), sampling, seed)}
        for prompt in prompts:
            text = read_rewriting(replies[prompt.id], prompt.text)
            if text is not None:
                yield disguise(prompt, self.family, text)

    def _ask(self, prompt: Prompt) -> Request:
        (tag,) = safe_tags(("request",), (prompt.text,))
        user = render("attack_request", request=prompt.text, request_tag=tag)
        return Request(prompt.id, (("system", self.instructions()), ("user", user)), quotes=True)


class PastTense(ModelRewrite):
    """The request as a question about how it was done in the past.

    One greedy rewriting, where the paper draws up to twenty and keeps whichever succeeds.
    Andriushchenko & Flammarion 2024, arXiv 2407.11969.
    """

    family = "past-tense"

    def instructions(self) -> str:
        """See `ModelRewrite.instructions`."""
        return render("attack_past_tense")


class LowResourceTranslation(ModelRewrite):
    """The request in a language that safety training saw little of.

    Answers are mostly in that language, too: choose a judge that reads it. (The paper translates them back.)
    Yong et al. 2023, arXiv 2310.02446.
    """

    family = "translation"
    Options = TranslationOptions
    options: TranslationOptions

    def instructions(self) -> str:
        """See `ModelRewrite.instructions`."""
        return render("attack_translation", language=self.options.language)


_REWRITTEN = re.compile(r"<rewritten>(.*?)</rewritten>", re.DOTALL)


def read_rewriting(reply: Completion, request: str) -> str | None:
    """The text between the only pair of tags of a reply; None if there is none, or if it is the request itself."""
    if reply.error is not None or reply.answer is None:
        return None
    matches = _REWRITTEN.findall(reply.answer)
    text = matches[0].strip() if len(matches) == 1 else ""
    return text if text and text.casefold() != request.strip().casefold() else None
