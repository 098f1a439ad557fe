"""Tests; none depends on how wide the terminal is in which they run."""

import os

os.environ.pop("COLUMNS", None)  # readline of the process that started this one puts it there
