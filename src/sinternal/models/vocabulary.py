"""Whether a tokenizer is that of the weights beside it: its tokens must be among those that the weights know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sinternal.errors import ModelError
from sinternal.models.resolve import ADAPTER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedTokenizerBase


def check_vocabulary(folder: Path, tokenizer: PreTrainedTokenizerBase, used: Iterable[int]) -> None:
    """Make sure that the weights know the tokens of every turn.

    Some models have tokens in their tokenizer that no text of theirs uses, and for which they have no weights.

    Args:
        folder: of the model; that of an adapter may bring weights for new tokens, and is not looked at.
        tokenizer: that of the folder.
        used: tokens that begin or end every turn.

    Raises:
        ModelError: they do not.
    """
    known = None if (folder / ADAPTER).exists() else _known(folder / "config.json")
    strange = max(used, default=0)
    if known is not None and strange >= known:
        token = tokenizer.convert_ids_to_tokens(strange)
        raise ModelError(
            f"{folder}: its tokenizer writes {token!r} as token {strange:,}, and its weights know {known:,} "
            "(vocab_size): the tokenizer is that of another model; put the model's own there"
        )


def _known(configuration: Path) -> int | None:
    """The tokens that a model has weights for, as its configuration says."""
    try:
        content = json.loads(configuration.read_text())
        size = content.get("vocab_size") or content["text_config"]["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return size if isinstance(size, int) else None
