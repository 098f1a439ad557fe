"""What each extra adds to the disk, in the environment that runs this: `python docs/extra_sizes.py`.

Megabytes of the files of all packages that an extra asks for, in turn, and that the core does not: the table in
docs/start.md.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement


def needs(name: str, extra: str, seen: dict[str, set[str]]) -> None:
    """Add a package, with what it asks for, to those that were seen, each with its extras."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if extra in seen.setdefault(name, set()):
        return
    seen[name].add(extra)
    try:
        asked = distribution(name).requires or ()
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for inner in ("", *requirement.extras):
                needs(requirement.name, inner, seen)


def megabytes(name: str) -> float | None:
    """The size of a package's files; None if it is not installed."""
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError:
        return None
    paths = [file.locate() for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main() -> None:
    """Print a line for each extra."""
    core: dict[str, set[str]] = {}
    needs("sinternal", "", core)
    print(f"core {sum(megabytes(name) or 0 for name in core):,.0f} MB")
    for extra in sorted(distribution("sinternal").metadata.get_all("Provides-Extra") or ()):
        seen: dict[str, set[str]] = {}
        needs("sinternal", extra, seen)
        sizes = {name: megabytes(name) for name in seen.keys() - core.keys()}
        missing = sorted(name for name, size in sizes.items() if size is None)
        beside = f"; not installed here: {', '.join(missing)}" if missing else ""
        print(f"{extra} {sum(size or 0 for size in sizes.values()):,.0f} MB{beside}")


if __name__ == "__main__":
    main()
