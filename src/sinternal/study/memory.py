"""What a GPU has to hold: each part of it, for a model that is trained here and for one that writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from sinternal.models.shape import Shape
from sinternal.settings.training import Method, WeightSettings
from sinternal.study import formulas
from sinternal.study.formulas import Figure

FLOAT32 = 4


class Phase(Enum):
    """A moment at which memory may be fullest."""

    LOSS = auto()
    """The loss and its gradient, all activations there; for a model that writes, any moment."""
    BACKWARD = auto()
    """The backward pass of the last layer."""
    UPDATE = auto()
    """The optimiser's step."""


ALWAYS = frozenset(Phase)
PASS, LOSS, BACKWARD, AFTER = (
    frozenset(phases) for phases in ((Phase.LOSS, Phase.BACKWARD), (Phase.LOSS,), (Phase.BACKWARD,), (Phase.UPDATE,))
)


@dataclass(frozen=True)
class Item:
    """A part of what is in a GPU's memory."""

    name: str
    """What it is."""
    figure: Figure
    """Its bytes."""
    when: frozenset[Phase] = ALWAYS
    """When it is there."""


@dataclass(frozen=True)
class Batch:
    """What a forward pass of training reads."""

    rows: int
    """Rows to a pass."""
    length: int
    """Tokens of its longest row, to which all are filled up."""
    accumulates: bool = False
    """Whether a step has several of them, so that gradients wait while the next is read."""

    @property
    def tokens(self) -> int:
        """Tokens to a pass."""
        return self.rows * self.length


def training_memory(shape: Shape, settings: WeightSettings, batch: Batch, *, on_gpu: bool) -> list[Item]:
    """The parts of a training step, as `sinternal.training` does it.

    Args:
        shape: of the model.
        settings: which weights are trained.
        batch: what a forward pass reads.
        on_gpu: with gradient checkpointing and automatic mixed precision; on a processor there is neither, and what the
            trained weights were before lies in the same memory.
    """
    full = settings.method is Method.FULL
    trained = shape.parameters if full else shape.adapter_parameters(settings.lora_r)
    stream = FLOAT32 if full else shape.bytes_each
    activation = formulas.BFLOAT16 if on_gpu else stream
    width = shape.dense_intermediate if shape.experts else shape.intermediate
    if shape.experts:
        width = max(width if shape.dense_layers else 0, shape.intermediate * shape.experts_per_token)
    items = [
        Item("weights", formulas.weight_bytes(parameters=shape.parameters, bytes_each=stream)),
        Item("gradients", formulas.gradient_bytes(trained=trained), ALWAYS if batch.accumulates else AFTER),
        Item("optimiser", formulas.optimizer_bytes(trained=trained)),
    ]
    if not full:
        items.append(Item("adapter", formulas.weight_bytes(parameters=trained, bytes_each=FLOAT32)))
    if on_gpu and full:
        items.append(Item("bfloat16 copies", formulas.cast_bytes(matrices=shape.matrix_parameters), PASS))
    if not on_gpu:
        stored = shape.bytes_each if full else FLOAT32
        items.append(Item("weights before", formulas.weight_bytes(parameters=trained, bytes_each=stored)))
    if on_gpu:
        checkpoints = formulas.checkpoint_bytes(
            tokens=batch.tokens, hidden=shape.hidden, layers=shape.layers, bytes_each=stream
        )
        items.append(Item("checkpoints", checkpoints, PASS))
    activations = formulas.activation_bytes(
        tokens=batch.tokens,
        layers=1 if on_gpu else shape.layers,
        hidden=shape.hidden,
        queries=shape.heads_width,
        kv=shape.kv_width,
        intermediate=width,
        norms=4 if full else 2,
        inputs=5 if on_gpu else 2,
        bytes_each=activation,
    )
    backward = formulas.backward_bytes(
        tokens=batch.tokens, hidden=shape.hidden, intermediate=width, bytes_each=activation
    )
    logits = formulas.logit_bytes(
        tokens=batch.tokens,
        vocab=shape.vocab,
        temporaries=0 if on_gpu else formulas.LOGIT_TEMPORARIES,
        hidden=shape.hidden,
        head=shape.vocab * shape.hidden if full else 0,
        bytes_each=activation,
    )
    return [
        *items,
        Item("activations", activations, BACKWARD if on_gpu else PASS),
        Item("backward", backward, BACKWARD),
        Item("logits", logits, LOSS),
    ]


def peak(items: Iterable[Item]) -> float:
    """Bytes at the fullest moment."""
    present = list(items)
    return max(sum(item.figure.value for item in present if phase in item.when) for phase in Phase)
