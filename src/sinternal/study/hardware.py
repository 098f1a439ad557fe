"""Machines to plan for: `8xH100`, `1xA100-80`, `cpu`. What each accelerator can do stands in `hardware.yaml`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from sinternal.errors import SInternalError
from sinternal.settings.strict_yaml import load_yaml
from sinternal.validation import nearest

CPU = "cpu"
"""The name of the machine that this is."""
_WRITTEN = re.compile(r"(?:(\d+)\s*x\s*)?(.+)", re.IGNORECASE)


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
    count, name = (int(written[1] or 1), written[2]) if written else (1, text)
    known = {accelerator.casefold(): accelerator for accelerator in accelerators()}
    if name.casefold() not in known:
        close = nearest(name.casefold(), [other for other in known if other != CPU])
        hint = f"did you mean {count}x{known[close]}?" if close else f"known ones: {', '.join(known.values())}"
        raise SInternalError(f"--hardware {text}: there is no accelerator {name!r}; {hint}")
    if not count:
        raise SInternalError(f"--hardware {text}: that is no accelerator at all; write 1x{known[name.casefold()]}")
    accelerator = accelerators()[known[name.casefold()]]
    return Hardware(accelerator, 1 if accelerator.name == CPU else count)


def _this_machine(bandwidth: float, flops: float, source: str) -> Accelerator:
    """The processor of this machine: the catalogue has the numbers of one core."""
    cores = os.cpu_count() or 1
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Accelerator(CPU, float(installed), bandwidth, flops * cores, f"{cores} cores: {source}")
