"""Every text that is sent to a model, as Jinja templates in this folder; code fills them and never words them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined

from sinternal.prompting.fence import FRAME


@cache
def _environment() -> Environment:
    # Plain text is sent, not HTML: nothing is escaped.
    return Environment(
        loader=PackageLoader("sinternal.prompting.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def render_pieces(name: str, values: Mapping[str, object] | None = None, **quoted: str) -> tuple[tuple[str, str], ...]:
    """Fill the template `<name>.jinja`, and keep apart what is ours and what is quoted.

    Args:
        name: of the template.
        values: what it takes beside the quoted texts.
        quoted: texts by others, by the names under which the template places them.

    Returns:
        (role, text) pairs which together are the filled template: `FRAME`, or the name of a quoted text.
    """
    free = next(number for number in count() if not any(f"\ufdd0{number}:" in text for text in quoted.values()))
    marks = {name: f"\ufdd0{free}:{name}\ufdd1" for name in quoted}
    parts = re.split(f"\ufdd0{free}:([a-z_]+)\ufdd1", render(name, **(values or {}), **marks))
    roles = [name if number % 2 else FRAME for number, name in enumerate(parts)]
    pieces = [(role, quoted[role] if role != FRAME else part) for role, part in zip(roles, parts, strict=True)]
    return tuple((role, text) for role, text in pieces if text)


def render(name: str, **values: object) -> str:
    """Fill the template `<name>.jinja`. A value that is missing is an error, never an empty string."""
    return _environment().get_template(f"{name}.jinja").render(**values).strip()
