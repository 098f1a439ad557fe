"""Where things are kept that belong to the user and to no run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where fetched things are kept: SINTERNAL_CACHE, or `sinternal` in XDG_CACHE_HOME or in ~/.cache."""
    if own := os.environ.get("SINTERNAL_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sinternal"
