"""Run the measurements that fit two cores, and write them into docs/: tables, plots of growth, and JSON files.

    python -m bench                          # speed; `make bench` does the same: about 40 minutes on two idle cores
    python -m bench --soak                   # reliability; `make soak` does the same
    python -m bench --small                  # with less of everything where that takes long: about 15 minutes
    python -m bench sampling prefix          # these only; the other tables stay

The tables of docs/performance.md and docs/reliability.md stand between marks, and .json files beside them have the same
results for programs. A script that fails stops nothing: its table stays as it was, and the exit status says so.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import Line, Panel, Row, table
from bench.plot import draw

DOCS = Path(__file__).parent.parent / "docs"
IMAGES = DOCS / "images"
SPEED, SOAK = DOCS / "performance.md", DOCS / "reliability.md"
MARK = "<!-- test: parse it takes minutes -->"
"""How `tests/docs` tests the command above a table."""


class Script(NamedTuple):
    """One measurement."""

    minutes: float
    """About how long it takes on two idle cores."""
    arguments: tuple[str, ...] = ()
    """What it is given; by itself it measures more."""
    small: tuple[str, ...] | None = None
    """What it is given by `--small`; None for the same."""
    page: Path = SPEED
    """Where its table stands."""
    apart: bool = False
    """Whether it needs an environment of its own, and runs only when it is named."""


SCRIPTS = {
    "sampling": Script(3),
    "vllm": Script(10, apart=True),
    "servers": Script(6, ("--texts", "32", "--repeats", "7"), ("--texts", "16")),
    "prefix": Script(4, ("--prompts", "400"), ("--prompts", "200", "--repeats", "2")),
    "sft": Script(2),
    "grpo": Script(2),
    "models": Script(5, (), ("--models", "microworld", "256x4", "384x6", "512x10")),
    "evaluation": Script(1),
    "demo": Script(2),
    "unchanged": Script(0.5),
    "report": Script(0.5),
    "page": Script(2, (), ("--rows", "2000", "--repeats", "2")),
    "rows": Script(20, (), ("--rows", "10000", "100000", "--repeats", "2")),
    "endpoints": Script(6, (), ("--requests", "1000"), page=SOAK),
    "hostile": Script(15, (), ("--texts", "20", "--pages", "3", "--large", "1000000"), SOAK),
    "crash_points": Script(30, (), ("--every", "20", "--times", "1"), SOAK),
    "kill_test": Script(10, (), ("--study", "small", "--kills", "5"), SOAK),
    "damage": Script(2, (), ("--flips", "40"), SOAK),
}
"""In the order of the page."""


def measure(name: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """The last line of a script as JSON; None if it failed."""
    print(f"== {name}: about {SCRIPTS[name].minutes:g} minutes", flush=True)
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
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
    plot = f"\n\n![{_title(found)}](images/{_image(found)})" if found["panels"] else ""
    return f"\n{MARK}\n```sh\n{found['command']}\n```\n\n{rows}{plot}\n\nMeasured on {where}.{notes}\n"


def put(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a measure.

    Raises:
        LookupError: it has no such marks.
    """
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise LookupError(f"the page has no marks {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def write(found: dict[str, Any]) -> None:
    """Put what a script found into the page, the data and the plots."""
    name = found["measure"]
    page = SCRIPTS[name].page
    page.write_text(put(page.read_text(), name, section(found)))
    data = page.with_suffix(".json")
    known = json.loads(data.read_text()) if data.exists() else {}
    known[name] = found
    data.write_text(f"{json.dumps({name: known[name] for name in SCRIPTS if name in known}, indent=1)}\n")
    if found["panels"]:
        panels = [_panel(panel) for panel in found["panels"]]
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / _image(found)).write_text(draw(panels, _title(found)))


def _panel(found: dict[str, Any]) -> Panel:
    lines = [Line(line["name"], [(x, y) for x, y in line["points"]]) for line in found["lines"]]
    return Panel(found["title"], found["x"], found["y"], lines)


def _image(found: dict[str, Any]) -> str:
    return f"growth-{found['measure']}.svg"


def _title(found: dict[str, Any]) -> str:
    return f"Growth of {', '.join(dict.fromkeys(panel['title'] for panel in found['panels']))}"


def main() -> int:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(SCRIPTS)}")
    parser.add_argument("--small", action="store_true", help="less of everything where that takes long")
    parser.add_argument("--soak", action="store_true", help="what is promised when things go wrong, and not speed")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in SCRIPTS]:
        parser.error(f"{', '.join(unknown)}: there are only {', '.join(SCRIPTS)}")
    page = SOAK if given.soak else SPEED
    failed = []
    for name in given.names or [name for name, script in SCRIPTS.items() if script.page == page and not script.apart]:
        script = SCRIPTS[name]
        arguments = script.arguments if script.small is None or not given.small else script.small
        if (found := measure(name, arguments)) is None:
            failed.append(name)
        else:
            write(found)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
