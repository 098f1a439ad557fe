"""The program: what the script `sinternal` and `python -m sinternal` run."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130
"""As a shell has it: 128 and the number of SIGINT."""


def main() -> None:
    """Run the command line. Ctrl-C while it is still being loaded ends it without a traceback, as it does later."""
    try:
        from sinternal.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
