"""Writes docs/decisions/README.md, the list of decisions: `python docs/generate_decisions.py`.

With `--check` it writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import re

from written import DOCS, write

COMMAND = "python docs/generate_decisions.py"


def page() -> str:
    """The whole of docs/decisions/README.md."""
    lines = [
        "# Decisions",
        "",
        "Why things are as they are, ten lines each: the context, the decision, and what it costs.",
        "",
    ]
    for file in sorted(DOCS.glob("decisions/[0-9]*.md")):
        title = re.sub(r"^# *\d+[.]? *", "", file.read_text().splitlines()[0])
        lines.append(f"- [{file.name[:3]}]({file.name}) {title}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write("decisions/README.md", page(), COMMAND)
