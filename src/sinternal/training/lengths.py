"""How much of a training set is under the loss."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from sinternal.engines import TemplateOptions
from sinternal.records import Example

TOGETHER = 1024
"""Examples whose tokens are in memory at once."""


def loss_tokens(model_folder: Path, examples: Iterable[Example], speech: TemplateOptions | None = None) -> list[int]:
    """Tokens under the loss of each example, as fine-tuning this model would render it, the end of the turn included.

    Args:
        model_folder: whose tokenizer and chat template.
        examples: the rows.
        speech: the chat-template options of the engine that measures the model.

    Raises:
        DataError: the chat template deletes the thinking, or renders a prompt differently once it is answered.
    """
    source = iter(examples)
    first = list(islice(source, TOGETHER))
    if not first:
        return []
    from sinternal.models.loading import open_tokenizer, stop_tokens
    from sinternal.training.sft import IGNORED, form_of, to_dataset

    form = form_of(open_tokenizer(model_folder), stop_tokens(model_folder), speech)
    counts: list[int] = []
    batch = first
    while batch:
        counts += (sum(token != IGNORED for token in labels) for labels in to_dataset(batch, form)["labels"])
        batch = list(islice(source, TOGETHER))
    return counts
