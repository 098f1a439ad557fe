"""Print the lowest version that pyproject.toml allows of everything that training needs, for `make test-lowest`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def lowest(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        name, bound = re.match(r"([\w-]+(?:\[\w+\])?)(?:>=([\w.]+))?", requirement).groups()  # type: ignore[union-attr]
        if bound is not None:
            yield f"{name}=={bound}"


if __name__ == "__main__":
    extras = PROJECT["optional-dependencies"]
    print(*lowest([*PROJECT["dependencies"], *extras["hub"], *extras["train"]]), sep="\n")
