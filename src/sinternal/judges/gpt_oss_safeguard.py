"""Judge `gpt-oss-safeguard`: a reasoning model that classifies by a policy of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sinternal.errors import DataError
from sinternal.judges.chat import ChatGuard
from sinternal.judges.guard import GuardOptions, Labels
from sinternal.judges.reading import only_line, without_fence
from sinternal.prompting.specification import load_spec
from sinternal.prompting.templates import render
from sinternal.records import Prompt

_SAFE = {"0": True, "1": False}


class _Verdict(BaseModel):
    """The guide's JSON form; further fields name categories and reasons."""

    model_config = ConfigDict(strict=True)

    violation: int = Field(ge=0, le=1)


class SafeguardOptions(GuardOptions):
    """Options of `gpt-oss-safeguard`."""

    policy: Path | None = None
    """A text file with the policy, or the folder of a specification; the package's own specification if left out."""


class GptOssSafeguard(ChatGuard):
    """gpt-oss-safeguard 20B and 120B: the policy is the system message, request and answer are the content.

    By default the policy is the specification that the models under test are trained on, so that a verdict and the
    label that it is compared with mean the same. Read are the guide's binary form, which is asked for, and its JSON
    form, for policies that ask for that themselves.

    Model card: https://huggingface.co/openai/gpt-oss-safeguard-20b (Apache-2.0); guide:
    https://cookbook.openai.com/articles/gpt-oss-safeguard-guide.
    """

    name: ClassVar[str] = "gpt-oss-safeguard"
    Options = SafeguardOptions
    options: SafeguardOptions

    def __init__(self, options: SafeguardOptions) -> None:
        """Take the judge's options and read the policy. Raises DataError if it cannot be read."""
        super().__init__(options)
        self._task = render("judge_gpt_oss_safeguard", policy=_read_policy(options.policy))

    def task(self) -> str:
        """The policy, and the form of the reply."""
        return self._task

    def read(self, reply: str, prompt: Prompt) -> Labels | None:
        """`0` or `1`, or a JSON object whose `violation` is one of them."""
        safe = _SAFE.get(only_line(reply) or "")
        if safe is not None:
            return Labels(safe)
        try:
            return Labels(_Verdict.model_validate_json(without_fence(reply)).violation == 0)
        except ValidationError:
            return None


def _read_policy(path: Path | None) -> str:
    path = path.expanduser() if path is not None else None
    if path is None or path.is_dir():
        return load_spec(path).text()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"judge 'gpt-oss-safeguard': policy {path}: {error}") from error
