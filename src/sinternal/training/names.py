"""How a training writes its figures down as they come; apart, so that whoever reads them needs no torch."""

from __future__ import annotations

CURVE = "curve.jsonl"
"""Beside the checkpoints of a training, as long as it goes on: a line for each point of its curves. After an
interruption some steps come again: the last line of a step counts."""
TRAINING, HELD_OUT = "training", "held out"
"""What a point of a curve is about."""
