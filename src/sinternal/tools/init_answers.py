"""What can be told at once of an answer to `sinternal init`, or of a flag: whether it can be what is asked for.

Whether the model loads and the server answers, `sinternal check` says.
"""

from __future__ import annotations

import re

from sinternal.engines.openai_options import check_address
from sinternal.errors import ModelError, SInternalError
from sinternal.models.resolve import model_folder
from sinternal.registry import Kind, names
from sinternal.tools.init_wishes import Wishes


def check_wishes(wishes: Wishes) -> None:
    """Make sure that all that was said can be meant. Raises SInternalError."""
    if wishes.model is not None:
        check_model(wishes.model)
    for option, url in (("--judge-url", wishes.judge_url), ("--expert-url", wishes.expert_url)):
        if url is not None:
            check_url(url, option)
    if wishes.expert_key is not None:
        check_variable(wishes.expert_key)


def check_model(name: str) -> None:
    """Make sure that a name may be a model's: known, a directory or an id of the hub. Raises SInternalError."""
    if name in names(Kind.MODEL):
        return
    try:
        model_folder(name)
    except ModelError as error:
        raise SInternalError(f"--model: {error}") from error


def check_url(url: str, option: str) -> None:
    """Make sure that a text is an address. Raises SInternalError."""
    try:
        check_address(url)
    except ValueError as error:
        raise SInternalError(f"{option}: {error}") from error


def check_variable(name: str) -> None:
    """Make sure that a text names a variable; what is none may be a key, and is not repeated. Raises SInternalError."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise SInternalError(
            "--expert-key: name the variable that holds the key, such as OPENAI_API_KEY, not the key itself"
        )
