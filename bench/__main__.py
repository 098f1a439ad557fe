"""Run the measurements that fit two cores, and write their tables into docs/performance.md.

    python -m bench                          # all; `make bench` does the same
    python -m bench sampling prefix          # these only; the other tables stay

A script that fails stops nothing: its table stays as it was, and the exit status says so.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.harness import Row, table

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
SCRIPTS = ("sampling", "servers", "sft", "grpo", "evaluation", "prefix", "report", "rows")
"""In the order of the page."""


def measure(name: str) -> dict[str, Any] | None:
    """The last line of a script as JSON; None if it failed."""
    print(f"== {name}", flush=True)
    run = subprocess.run([sys.executable, "-m", f"bench.{name}"], stdout=subprocess.PIPE, text=True, check=False)
    print(run.stdout, flush=True)
    if run.returncode:
        return None
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def section(found: dict[str, Any]) -> str:
    """What stands between the marks of a measure on the page."""
    machine = found["machine"]
    rows = table([Row(**row) for row in found["rows"]])
    notes = "".join(f"\n\nNote: {note}." for note in found["notes"])
    where = f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, load {machine['load']:g}"
    return f"\n    {found['command']}\n\n{rows}\n\nMeasured on {where}.{notes}\n"


def put(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a measure.

    Raises:
        LookupError: it has no such marks.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise LookupError(f"{PAGE} has no marks {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def main() -> int:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SCRIPTS), help=f"of: {', '.join(SCRIPTS)}")
    failed = []
    for name in parser.parse_args().names:
        if (found := measure(name)) is None:
            failed.append(name)
        else:
            PAGE.write_text(put(PAGE.read_text(), name, section(found)))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
