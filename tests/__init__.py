"""Tests; none depends on the terminal in which they run, nor on what their surroundings say of it, or of proxies."""

import os

for _name in (
    "COLUMNS",  # readline of the process that started this one puts it there
    "LINES",
    "FORCE_COLOR",
    "NO_COLOR",
    "PY_COLORS",
    "GITHUB_ACTIONS",  # typer takes it for a terminal
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
):
    os.environ.pop(_name, None)
if any(_name.lower() in ("http_proxy", "https_proxy", "all_proxy") for _name in os.environ):
    for _name in ("NO_PROXY", "no_proxy"):  # it leads to no server of the tests
        os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))
