"""What is written down is what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.commands import HANGS

ROOT = Path(__file__).parent.parent


def test_the_api_page_is_what_the_docstrings_say() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate_api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr


def test_the_settings_page_speaks_of_types_and_values_as_yaml_does() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert not re.findall(r"tuple\[|dict\[|Literal|Optional|\bNone\b", page)


def test_every_table_of_the_command_page_has_a_header() -> None:
    assert not re.findall(r"^[| ]+\n\|-", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)


def test_the_examples_of_the_command_page_are_blocks_of_code() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    outside = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^ *sinternal ", outside, re.MULTILINE)
