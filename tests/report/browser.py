"""A real browser for the tests: Debian's chromium, without a window and without network."""

from __future__ import annotations

import os

import pytest
from bench.browser import find


def chromium() -> str:
    """Where it is; the test is skipped where there is none, and fails where all tests have to run."""
    if (program := find()) is None:
        reason = "no chromium found: pages are untested; install it (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program
