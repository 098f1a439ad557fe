"""Whether the files of a model directory are all there and whole, by their names and sizes: no weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import index
from pathlib import Path

from sinternal.models.resolve import ADAPTER

INDEX = "model.safetensors.index.json"
"""Which file holds which tensor, of a model in several files."""
LONGEST_HEADER = 100_000_000
"""Bytes of the description of tensors, as the format allows at most."""
CONFIGURATIONS = ("config.json", "generation_config.json", "tokenizer_config.json", ADAPTER)


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with the files of a model or adapter, each with its mend.

    Args:
        folder: of the model.
    """
    for name in CONFIGURATIONS:
        if (file := folder / name).is_file() and not isinstance(_json(file), dict):
            yield f"{file} is no JSON object: download it again"
    weights = list(_weights(folder))
    if not any(file.is_file() for file in weights):
        yield f"{folder} holds no weights in safetensors: download them, or convert the model by save_pretrained"
        return
    for file in weights:
        if not file.is_file():
            yield f"{file} is missing, and {INDEX} names it: download it again"
        elif why := _cut_short(file):
            yield f"{file} {why}: download it again"


def _weights(folder: Path) -> Iterator[Path]:
    """The files that hold weights, or should."""
    if (folder / ADAPTER).is_file():
        yield folder / "adapter_model.safetensors"
        return
    listed = _json(folder / INDEX) if (folder / INDEX).is_file() else None
    named = listed.get("weight_map") if isinstance(listed, dict) else None
    if isinstance(named, dict):
        yield from (folder / str(name) for name in sorted(set(map(str, named.values()))))
    else:
        yield from sorted(folder.glob("*.safetensors")) or [folder / "model.safetensors"]


def _cut_short(file: Path) -> str:
    """Whether a file is shorter or longer than it says; empty if it is as it says (safetensors' format, 2023)."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > LONGEST_HEADER or 8 + length > size:
            return f"is cut short, or no safetensors ({size:,} bytes)"
        try:
            header = json.loads(stream.read(length))
            ends = [index(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return "is damaged: what it says of its tensors cannot be read"
    wanted = 8 + length + max(ends, default=0)
    return "" if wanted == size else f"has {size:,} bytes, and should have {wanted:,}"


def _json(file: Path) -> object:
    try:
        content: object = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content
