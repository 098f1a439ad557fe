"""What the user of `sinternal init` wants, as far as it has been said."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Wishes:
    """What a user wants; what is None has not been said."""

    name: str = "my-study"
    """Name of the study."""
    file: str = "my-study.yaml"
    """Name of the file, for the commands in its head."""
    model: str | None = None
    """The model: a directory, a Hugging Face id, or a registered source."""
    data: tuple[str, ...] = ()
    """What to tune on: `FILE`, `FILE:harmful`, `FILE:benign`, or the name of a benchmark."""
    evaluation: tuple[str, ...] = ()
    """What to measure on; none: a part of the data that is not tuned on."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns of the files hold what, by the names that `options.columns` has; the others are found by name."""
    harmful_if: str | None = None
    """The value of the column `harmful` that means harmful."""
    judge: str | None = None
    """Name of a judge."""
    judge_model: str | None = None
    """The model behind it."""
    judge_url: str | None = None
    """Where that is served; None: it is opened here."""
    expert: str | None = None
    """The expert's model, or the name of an expert without one, such as `oracle`."""
    expert_url: str | None = None
    """Where it is served."""
    expert_key: str | None = None
    """The variable of the environment that holds its key."""
    engine: str = "transformers"
    """Who writes the target's text."""
    method: str = "lora"
    """Which weights are trained."""
    taken: list[str] = field(default_factory=list)
    """Defaults that were taken, in words."""
    missing: list[str] = field(default_factory=list)
    """What has to be filled in by hand, in words."""
