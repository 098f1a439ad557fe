"""Machines to plan for: `8xH100`, `1xA100-80`, `cpu`. What each accelerator can do stands in `hardware.yaml`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from sinternal.errors import SInternalError
from sinternal.settings.strict_yaml import load_yaml

CPU = "cpu"
"""The name of the machine that this is."""
_WRITTEN = re.compile(r"(?:(?P<count>\d+)\s*[x\u00d7*]\s*)?(?P<name>.+)", re.IGNORECASE)
_MISWRITTEN = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"(?P<name>.+?)\s*[x\u00d7*:]\s*(?P<count>\d+)", r"(?P<count>\d+)\s*(?P<name>[a-z].*)")
)
"""`H100x8` and `8H100`, so that whoever writes so is told how it is written here."""


@dataclass(frozen=True)
class Accelerator:
    """One GPU, or this machine's processor."""

    name: str
    """As the catalogue spells it."""
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second, between memory and processor."""
    flops: float
    """Multiplications and additions of dense bfloat16 matrices a second; of a processor, in float32."""
    source: str
    """Where the numbers come from."""


@dataclass(frozen=True)
class Hardware:
    """A machine: some accelerators of one kind."""

    accelerator: Accelerator
    """The kind."""
    count: int = 1
    """How many."""

    @property
    def is_cpu(self) -> bool:
        """Whether it has no accelerator."""
        return self.accelerator.name == CPU

    @property
    def name(self) -> str:
        """As a user writes it."""
        return CPU if self.is_cpu else f"{self.count}x{self.accelerator.name}"


@cache
def accelerators() -> dict[str, Accelerator]:
    """Every known accelerator, by name."""
    content: dict[str, dict[str, Any]] = load_yaml(files("sinternal.study").joinpath("hardware.yaml").read_text())
    return {
        name: _this_machine(**fields) if name == CPU else Accelerator(name, **fields)
        for name, fields in content.items()
    }


def read_hardware(text: str) -> Hardware:
    """A machine as a user writes it.

    Args:
        text: a number and an accelerator, `8xH100`; the number may be left out.

    Raises:
        SInternalError: there is no such accelerator, or none of them.
    """
    written = _WRITTEN.fullmatch(text.strip())
    name = written["name"] if written else ""
    known = {accelerator.casefold(): accelerator for accelerator in accelerators()}
    if name.casefold() not in known:
        raise SInternalError(f"--hardware {text}: there is no accelerator {name!r}; {_hint(text.strip(), known)}")
    accelerator = accelerators()[known[name.casefold()]]
    count = int(written["count"] or 1) if written else 1
    if accelerator.name == CPU and count != 1:
        raise SInternalError(f"--hardware {text}: cpu is this machine, with all its cores; write cpu")
    if not count:
        raise SInternalError(f"--hardware {text}: that is no accelerator at all; write 1x{accelerator.name}")
    return Hardware(accelerator, count)


def _hint(text: str, known: Mapping[str, str]) -> str:
    """What somebody may have meant, with his number of them, or all that there are."""
    for pattern in _MISWRITTEN:
        if (turned := pattern.fullmatch(text)) and (own := known.get(turned["name"].casefold())):
            return f"did you mean {turned['count']}x{own}?"
    if written := _WRITTEN.fullmatch(text):
        name, gpus = written["name"].casefold(), {low: own for low, own in known.items() if low != CPU}
        longer = [low for low in gpus if name in low] if len(name) > 1 else []
        shorter = sorted((low for low in gpus if low in name), key=len)[-1:]
        if close := longer or get_close_matches(name, gpus, n=1, cutoff=0.85) or shorter:
            return "did you mean " + " or ".join(f"{written['count'] or 1}x{gpus[low]}" for low in close) + "?"
    return f"known ones: {', '.join(known.values())}"


def _this_machine(bandwidth: float, flops: float, source: str) -> Accelerator:
    """The processor of this machine: the catalogue has the numbers of one core."""
    cores = os.cpu_count() or 1
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Accelerator(CPU, float(installed), bandwidth, flops * cores, f"{cores} cores: {source}")
