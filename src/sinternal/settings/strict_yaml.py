"""YAML as settings are written in: plain values alone, and nothing that is read otherwise than it looks.

What YAML allows and a settings file can only hold by mistake is an error with its line: a key that comes twice, a date
that is none, an infinite number, aliases that grow without bound.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import yaml

MOST_VALUES = 100_000
"""How many values a file may hold once its aliases are followed."""
LONGEST_NUMBER = 100
"""Characters of a number; reading one takes time that grows with their square."""


class StrictYamlError(ValueError):
    """A text is not the YAML that settings are written in; one line that says where."""


class _Loader(yaml.SafeLoader):
    """Plain values, checked as they are read."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _at(key, f"the key {key.value!r} comes twice: keep one")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node: yaml.Node | None = super().compose_node(parent, index)
        self.values += 1
        if self.values > MOST_VALUES and node is not None:
            raise _at(node, f"more than {MOST_VALUES:,} values")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        try:
            if len(node.value) > LONGEST_NUMBER:
                raise ValueError
            return int(super().construct_yaml_int(node))
        except ValueError as error:
            raise _at(node, "not a readable whole number: it has too many digits, or the wrong ones") from error

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        try:
            if len(node.value) > LONGEST_NUMBER:
                raise ValueError
            value = float(super().construct_yaml_float(node))
        except ValueError as error:
            raise _at(node, f"{node.value[:40]!r} is not a number") from error
        if not math.isfinite(value):
            raise _at(node, f"{node.value[:40]!r} is not a finite number; every setting must be finite")
        return value

    def timestamp(self, node: yaml.ScalarNode) -> str:
        """The text as it stands, for no setting is a date; but one that cannot be is a slip of the pen."""
        try:
            self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise _at(node, f"{node.value[:40]!r} is not a date ({error}); if it is text, put it in quotes") from error
        return str(node.value)

    def refuse(self, node: yaml.Node) -> Any:
        raise _at(
            node,
            f"the tag {node.tag.removeprefix('tag:yaml.org,2002:')!r} is not allowed here; write plain values",
        )


_CONSTRUCTORS = {
    "int": _Loader.construct_yaml_int,
    "float": _Loader.construct_yaml_float,
    "timestamp": _Loader.timestamp,
    **dict.fromkeys(("binary", "set", "omap", "pairs"), _Loader.refuse),
}
for _tag, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)


def _at(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def load_yaml(text: str) -> Any:
    """The value that a text holds.

    Raises:
        StrictYamlError: it is no YAML, or holds what no settings can.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise StrictYamlError("nested too deeply") from error
    except yaml.MarkedYAMLError as error:  # which quotes the line that it is about, and a key that may stand there
        raise StrictYamlError(_one_line(error)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise StrictYamlError(" ".join(str(error).split())) from error
    except (TypeError, AttributeError, LookupError) as error:  # how the library meets a tag on a value of another kind
        raise StrictYamlError("a value is not of the kind that its tag (!!…) says") from error


def _one_line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = " ".join(filter(None, [error.context if not error.problem else "", error.problem]))
    return position + (" ".join(problem.split()) or "cannot be read")


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node holds with its aliases followed."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _at(node, "an alias contains itself")
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(inner, known) for inner in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    if size > MOST_VALUES:
        raise _at(node, f"more than {MOST_VALUES:,} values once its aliases are followed")
    known[id(node)] = size
    return size
