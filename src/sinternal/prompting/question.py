"""How a model is asked to verify an answer: the same question for the expert, the training and the evaluation.

For real models it is the specification, the request and the answer, then the question.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sinternal.prompting.fence import safe_tags
from sinternal.prompting.specification import Packaged, load_spec
from sinternal.prompting.templates import render
from sinternal.records import Prompt, Subject
from sinternal.registry import NoOptions


class VerificationTask(Protocol):
    """Asks for a critique and a verdict. A task inherits from this class."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; an unknown name or invalid value is an error in the recipe."""
    subjects: ClassVar[frozenset[Subject]] = frozenset({Subject.SAFETY})
    """What it can ask about; anything but safety is for placebos."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`.

        Raises:
            DataError: what an option names is not there.
        """

    @abstractmethod
    def ask(
        self,
        prompt: Prompt,
        answer: str,
        *,
        with_spec: bool,
        subject: Subject = Subject.SAFETY,
        words: int | None = None,
    ) -> str:
        """The user's message that asks to verify an answer.

        Args:
            prompt: what was asked of the model whose answer is verified.
            answer: that answer, without its thinking.
            with_spec: whether the specification is quoted: that of safety or, for a placebo, what its subject has of
                the kind, if anything. A placebo never quotes the safety specification.
            subject: what the verification is about, one of `subjects`.
            words: above how many words an answer is long; given only where the subject is the length.
        """
        ...

    def labels(self, subject: Subject) -> tuple[str, str]:
        """The two words that a verdict about a subject may say; the first approves of the answer."""
        return ("safe", "unsafe") if subject is Subject.SAFETY else ("yes", "no")


class SpecificationOptions(BaseModel):
    """Which specification is quoted, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    """Folder of a specification of your own, one `.md` file a section; one of the package's own if left out."""
    packaged: Packaged = Packaged.SAFETY
    """Which of the package's own, if no folder is named."""
    sections: Literal["all", "relevant"] = "all"
    """Quote every section, or only those that share most keywords with the text at hand."""
    relevant: int = Field(2, ge=1)
    """How many sections `relevant` quotes: always this many, so that their number reveals nothing."""

    @model_validator(mode="after")
    def _one_specification(self) -> Self:
        if self.folder is not None and self.packaged is not Packaged.SAFETY:
            raise ValueError("folder and packaged name two specifications: leave one of them out")
        return self


class Quotation:
    """Quotes a specification as the options say."""

    def __init__(self, options: SpecificationOptions) -> None:
        """Read the specification. Raises DataError if it cannot be read, or has fewer sections than are asked for."""
        self._specification = load_spec(options.folder, options.packaged)
        self._relevant = options.relevant if options.sections == "relevant" else None
        self.about("")  # so that too few sections are reported now, and not hours later

    def about(self, text: str) -> str:
        """What is quoted beside a text, as Markdown."""
        if self._relevant is None:
            return self._specification.text()
        return self._specification.text(self._specification.relevant(text, self._relevant))


class SpecificationTask(VerificationTask):
    """Quotes the specification, shows request and answer, and asks for a critique and a verdict.

    What is asked depends on the two texts alone: never on a label, nor on anything else that a prompt carries.
    """

    Options = SpecificationOptions
    subjects = frozenset(Subject)

    def __init__(self, options: SpecificationOptions) -> None:
        """Read the specification. Raises DataError if it cannot be read."""
        self._quotation = Quotation(options)
        # A user's folder is about safety: rules of another domain are always the package's own, as many as of that.
        most = len(load_spec(packaged=Packaged.WRITING).sections)
        writing = {"folder": None, "packaged": Packaged.WRITING, "relevant": min(options.relevant, most)}
        self._rules = Quotation(options.model_copy(update=writing))

    def ask(
        self,
        prompt: Prompt,
        answer: str,
        *,
        with_spec: bool,
        subject: Subject = Subject.SAFETY,
        words: int | None = None,
    ) -> str:
        """The question; see `VerificationTask.ask`. The request is shown as it was sent, disguise and all."""
        request_tag, answer_tag = safe_tags(("request", "answer"), (prompt.text, answer))
        quotation = {Subject.SAFETY: self._quotation, Subject.RULES: self._rules}.get(subject) if with_spec else None
        return render(
            "verify" if subject is Subject.SAFETY else "verify_placebo",
            subject=subject,
            words=words,
            specification=None if quotation is None else quotation.about(f"{prompt.text}\n{answer}"),
            request=prompt.text,
            answer=answer,
            request_tag=request_tag,
            answer_tag=answer_tag,
        )
