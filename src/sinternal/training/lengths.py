"""How much of a training set is under the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sinternal.records import Example


def loss_tokens(model_folder: Path, examples: Sequence[Example]) -> list[int]:
    """Tokens under the loss of each example, as fine-tuning this model would render it, the end of the turn included.

    Args:
        model_folder: whose tokenizer and chat template.
        examples: the rows.

    Raises:
        DataError: the chat template deletes the thinking, or renders a prompt differently once it is answered.
    """
    if not examples:
        return []
    from sinternal.models.loading import open_tokenizer, stop_tokens
    from sinternal.training.sft import IGNORED, form_of, to_dataset

    rows = to_dataset(examples, form_of(open_tokenizer(model_folder), stop_tokens(model_folder)))
    return [sum(token != IGNORED for token in labels) for labels in rows["labels"]]
