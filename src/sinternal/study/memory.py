"""What a GPU has to hold: each part of it, for a model that is trained here and for one that writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from sinternal.models.shape import Shape
from sinternal.settings.launch import Launch, Sharing
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


@dataclass(frozen=True)
class Spread:
    """The processes that train a model together, each on a GPU of its own."""

    processes: int = 1
    """How many."""
    sharing: Sharing = Sharing.DDP
    """What each has of the model."""

    @classmethod
    def of(cls, launch: Launch | None) -> Spread:
        """As a recipe says it."""
        return cls() if launch is None else cls(launch.processes, launch.sharing)

    @property
    def divides(self) -> bool:
        """Whether a process has a share of the model only."""
        return self.processes > 1 and self.sharing is not Sharing.DDP

    def share(self, figure: Figure) -> Figure:
        """What one process keeps of what is divided."""
        if not self.divides:
            return figure
        part = formulas.share_of_a_process(whole=figure.value, processes=self.processes)
        return replace(part, source=f"{part.source}; the whole is {figure.explanation}")


ALONE = Spread()
"""One process."""


def training_memory(
    shape: Shape, settings: WeightSettings, batch: Batch, *, on_gpu: bool, spread: Spread = ALONE
) -> list[Item]:
    """The parts of a training step in one process, as `sinternal.training` does it.

    Args:
        shape: of the model.
        settings: which weights are trained.
        batch: what a forward pass of the process reads.
        on_gpu: with gradient checkpointing and automatic mixed precision; on a processor there is neither, and what the
            trained weights were before lies in the same memory, if one process trains.
        spread: the processes.
    """
    full = settings.method is Method.FULL
    trained = trained_parameters(shape, settings)
    stream = FLOAT32 if full else shape.bytes_each
    activation = formulas.BFLOAT16 if on_gpu else stream
    width = shape.dense_intermediate if shape.experts else shape.intermediate
    if shape.experts:
        width = max(width if shape.dense_layers else 0, shape.intermediate * shape.experts_per_token)
    items = [
        Item("weights", spread.share(formulas.weight_bytes(parameters=shape.parameters, bytes_each=stream))),
        Item(
            "gradients", spread.share(formulas.gradient_bytes(trained=trained)), ALWAYS if batch.accumulates else AFTER
        ),
        Item("optimiser", spread.share(formulas.optimizer_bytes(trained=trained))),
    ]
    if not full:
        items.append(Item("adapter", spread.share(formulas.weight_bytes(parameters=trained, bytes_each=FLOAT32))))
    items += _exchanged(shape, settings, spread, formulas.BFLOAT16 if on_gpu else stream)
    if on_gpu and full and not spread.divides:  # what is gathered comes in bfloat16
        items.append(Item("bfloat16 copies", formulas.cast_bytes(matrices=shape.matrix_parameters), PASS))
    if not on_gpu and spread.processes == 1:
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


def trained_parameters(shape: Shape, settings: WeightSettings) -> int:
    """Weights that a training changes."""
    return shape.parameters if settings.method is Method.FULL else shape.adapter_parameters(settings.lora_r)


def _exchanged(shape: Shape, settings: WeightSettings, spread: Spread, bytes_each: int) -> Iterator[Item]:
    """What a process has of others for a while, and what it sends them."""
    trained, layer = trained_parameters(shape, settings), shape.layer_parameters
    if spread.processes == 1:
        return
    if spread.sharing is Sharing.DDP:
        yield Item("gradient buckets", formulas.bucket_bytes(trained=trained))
    elif spread.sharing is Sharing.FSDP2:
        gathered = formulas.gathered_bytes(layer=layer, output=shape.output_parameters, bytes_each=bytes_each)
        yield Item("gathered weights", gathered, PASS)
        changed = layer if settings.method is Method.FULL else trained / shape.layers
        yield Item("gathered gradients", formulas.reduced_bytes(layer=changed, bytes_each=bytes_each), BACKWARD)
    else:
        live = formulas.live_bytes(parameters=shape.parameters, layer=layer, bytes_each=bytes_each)
        yield Item("gathered weights", live, PASS)
        bucket = formulas.reduced_bucket_bytes(trained=trained, bytes_each=bytes_each)
        yield Item("gathered gradients", bucket, BACKWARD)


def peak(items: Iterable[Item]) -> float:
    """Bytes at the fullest moment."""
    present = list(items)
    return max(sum(item.figure.value for item in present if phase in item.when) for phase in Phase)
