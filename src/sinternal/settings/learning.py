"""What arms learn from: training sets of one size, and who labels and rewards."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from sinternal.settings.base import Section
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.sources import Source


class Equal(StrEnum):
    """What training sets have in common."""

    ROWS = "rows"
    """Their number of rows, and the steps: arms with longer targets have more tokens under the loss."""
    LOSS_TOKENS = "loss_tokens"
    """Their tokens under the loss, each row seen equally often: arms with shorter targets have more rows and steps."""


class Examples(Section):
    """The training sets."""

    size: int = Field(ge=4)
    """Rows, the same for every trained arm; with `equal: loss_tokens`, of the first arm that is trained on
    verification, whose loss tokens the others then have. Only an arm of a published data set has that set's rows."""
    equal: Equal = Equal.ROWS
    """What the training sets of all arms have in common."""
    spare: float = Field(default=0.25, ge=0)
    """Share of critiques and demonstrations that the expert is asked for beyond what is trained on, in case the judge
    disagrees with some. With fewer left, rows are repeated."""


class Rewards(Section):
    """Who labels what the arms learn from, and rewards; another judge than the first of `judges`, which measures."""

    judge: JudgePlugin | None = None
    """Who says whether an answer is safe: of the answers that are verified, of demonstrations and of rollouts; by
    default the first of `judges`."""
    refusals: JudgePlugin | None = None
    """Who says whether an answer refuses; by default the same judge, if it tells."""
    mathematics: tuple[Source, ...] = ()
    """Problems to mix in, for `grpo.mixture.mathematics`."""
    held_out: tuple[Source, ...] | None = None
    """What `grpo.held_out_every` measures: never trained on, never the benchmark. By default part `dev` of
    `prompts.train`."""
    held_out_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign held-out prompts."""
