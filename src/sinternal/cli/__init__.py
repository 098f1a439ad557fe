"""The command line."""

from sinternal.cli.main import main

__all__ = ["main"]
