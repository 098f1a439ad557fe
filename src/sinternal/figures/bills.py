"""What calls to servers took in a run, server by server."""

from __future__ import annotations

from dataclasses import dataclass

from sinternal.budget import Spent
from sinternal.errors import SInternalError
from sinternal.layout import RunMap
from sinternal.settings.named_engines import engines_in
from sinternal.store import Artifact

UNKNOWN = "others"
"""A server whose settings can no longer be read."""


@dataclass(frozen=True)
class Bill:
    """What calls to one server took."""

    server: str
    """Model and address; of a stage that asks several servers, all of them."""
    spent: Spent
    """Calls, tokens, cost."""
    priced: bool
    """Whether its settings have a price."""

    @property
    def unpriced(self) -> str:
        """What stands behind the figures where no price was given."""
        return "" if self.priced else ", no price given"


def bills(run: RunMap[Artifact]) -> tuple[Bill, ...]:
    """What calls to servers took, each artifact counted once; empty if none were made."""
    by_server: dict[str, Bill] = {}
    seen = set()
    for seed in run.values():
        target = str(seed.target.manifest["config"]["model"])
        for _, artifact in seed.leaves():
            spent = Spent(**artifact.manifest.get("spent", {}))
            if spent.calls and artifact.path not in seen:
                seen.add(artifact.path)
                name, priced = _asked(artifact, target)
                known = by_server.get(name, Bill(name, Spent(), priced))
                by_server[name] = Bill(name, known.spent + spent, known.priced or priced)
    return tuple(by_server.values())


def _asked(artifact: Artifact, target: str) -> tuple[str, bool]:
    """Whom an artifact's calls went to, and whether that has a price."""
    try:
        asked = [engine for engine in engines_in(artifact.manifest["config"]) if engine.asks_server]
        names = dict.fromkeys(engine.server(engine.model or target) for engine in asked)
    except SInternalError:  # of a plug-in that is gone, or of settings whose secrets were left out
        return UNKNOWN, False
    return " and ".join(names) or UNKNOWN, any(engine.has_a_price for engine in asked)
