"""A real browser for the tests: Debian's chromium, without a window and without network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from bench.browser import FLAGS, find

from tests.commands import HANGS


def chromium() -> str:
    """Where it is; the test is skipped where there is none, and fails where all tests have to run."""
    if (program := find()) is None:
        reason = "no chromium found: pages are untested; install it (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def dom(page: Path, fragment: str = "") -> str:
    """The document as the browser has it after its scripts ran."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [chromium(), *FLAGS, "--virtual-time-budget=5000", profile, "--dump-dom", page.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=True).stdout
