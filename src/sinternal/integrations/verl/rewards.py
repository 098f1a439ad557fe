"""What a rollout is worth, inside verl: the judges, the reading of texts and the rewards of our own trainer.

verl has no value for a reward that is missing. What our trainer masks is an error here: verl 0.9 with its `v1` trainer
then leaves the rollout out of its group, and pads the batch with rows that do not count.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError, ModelError
from sinternal.judges import Judge
from sinternal.prompting.think import Tags
from sinternal.records import Verdict
from sinternal.settings.plugins import JudgePlugin
from sinternal.training.rewards import Kind

if TYPE_CHECKING:  # it needs transformers
    from transformers import PreTrainedTokenizerBase

    from sinternal.training.scorer import Scorer

FILE = "rewards.json"
"""Name of the file that says how an arm is rewarded."""


class UnrewardedError(DataError):
    """A rollout has no reward: it was cut short, or the judge failed. verl is to leave it out."""


class RewardSettings(BaseModel):
    """Who rewards, and whose texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """The policy's start: its tokenizer says how it spells its thinking."""
    judge: JudgePlugin
    """The judge of safety."""
    refusals: JudgePlugin | None = None
    """The judge of refusals; None: the same judge."""
    speech: TemplateOptions = TemplateOptions()
    """Options for the chat template."""


class Rewarder:
    """Rewards the texts of a policy. verl asks from several threads: each has its own judges."""

    def __init__(self, settings: RewardSettings) -> None:
        """Take who rewards; models and tokenizer are opened when the first text comes."""
        self.settings = settings
        self._of_thread = threading.local()

    @classmethod
    def read(cls, file: Path) -> Self:
        """The rewarder that a file describes."""
        return cls(RewardSettings.model_validate_json(file.read_text()))

    def score(self, text: str, ground_truth: str, extra_info: Mapping[str, Any]) -> float:
        """The reward of a rollout.

        Args:
            text: what the policy wrote, without special tokens; the end of its turn may be an ordinary one.
            ground_truth: of its row; for a verification, the judge's label.
            extra_info: of its row: `kind` and `prompt`.

        Returns:
            0 to 1.

        Raises:
            UnrewardedError: the judge failed.
        """
        from sinternal.integrations.verl.rows import read_prompt
        from sinternal.training.scorer import Rollout

        kind, scorer = Kind(extra_info["kind"]), self._scorer()
        thinking, answer = scorer.split(_without_end(text, scorer))
        label = Verdict(ground_truth) if kind is Kind.VERIFICATION else None
        rollout = Rollout(read_prompt(extra_info["prompt"]), kind, thinking, answer, truncated=False, label=label)
        (scored,) = scorer.score([rollout])
        if scored.reward is None:
            raise UnrewardedError(f"no reward: {scored.why} ({scored.labels.error or 'no label'})")
        return scored.reward

    def _scorer(self) -> Scorer:
        """The scorer of our trainer, one for each thread."""
        from sinternal.models.loading import open_tokenizer, stop_tokens
        from sinternal.models.resolve import resolve_model
        from sinternal.prompting.chat import generation_prompt, turn_ends
        from sinternal.training.scorer import Panel, Scorer

        known = vars(self._of_thread)
        if "scorer" not in known:
            folder = resolve_model(self.settings.model)
            tokenizer = open_tokenizer(folder)
            form = generation_prompt(tokenizer, [("user", "hello")], tags=self.settings.speech.tags)
            check_spelling(tokenizer, form.tags[0])
            plugins = (self.settings.judge, self.settings.refusals)
            judges: list[Judge] = [plugin.open() for plugin in plugins if plugin]
            known["scorer"] = Scorer(
                {},
                tokenizer,
                Panel(*judges),
                split=form.split,
                ends=turn_ends(tokenizer, stop_tokens(folder)),
                max_failed=1.0,  # verl counts nothing across rollouts
            )
        scorer: Scorer = known["scorer"]
        return scorer


def check_spelling(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> None:
    """Make sure that the end of a thinking is still there in text as verl decodes it, without special tokens.

    Raises:
        ModelError: it is a special token, so that every thinking would seem unclosed.
    """
    ids = tokenizer.encode(tags.close, add_special_tokens=False)
    if tags.close not in tokenizer.decode(ids, skip_special_tokens=True):
        raise ModelError(
            f"{tags.close!r} is a special token of this model, and verl decodes rollouts without those: no thinking "
            "would ever close; make it an ordinary token of the tokenizer (special: false)"
        )


def _without_end(text: str, scorer: Scorer) -> str:
    ends = (str(scorer.tokenizer.decode([end], skip_special_tokens=True)) for end in scorer.ends)
    return next((text.removesuffix(end) for end in ends if end and text.endswith(end)), text)


def is_cut(ids: Sequence[int], limit: int, end: int | None) -> bool:
    """Whether a text ran into the token limit before it ended.

    Args:
        ids: its tokens.
        limit: the most that it may have.
        end: the token that ends a turn.
    """
    return len(ids) >= limit and (not ids or ids[-1] != end)
