"""What a plan takes of a machine: memory, tokens and hours of each artifact that is still to be made, before it runs.

Nothing is loaded but configurations. Memory is that of the longest texts that the settings allow. Hours are those of
texts of an assumed mean length: at least by the roofline, and expected by a stated share of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sinternal.errors import RecipeError, SInternalError
from sinternal.models.shape import Shape, find_shape
from sinternal.settings.launch import PACKAGED, Launch, Sharing
from sinternal.settings.named_engines import engines_in
from sinternal.settings.training import GrpoSettings, Method, RolloutEngine, SftSettings
from sinternal.stages.capability import CapabilityConfig
from sinternal.stages.grpo import GrpoConfig
from sinternal.stages.sample import SampleConfig
from sinternal.stages.self_verify import SelfVerifyConfig
from sinternal.stages.sft import SftConfig
from sinternal.stages.target import TargetConfig
from sinternal.study import formulas
from sinternal.study.cost import Row, calls_of, server_bounds
from sinternal.study.formulas import Figure
from sinternal.study.hardware import Hardware
from sinternal.study.lengths import Lengths, question_tokens
from sinternal.study.local import SERVING_CONTEXT, Writer, writer_of, writing_room
from sinternal.study.memory import FLOAT32, LOSS, Batch, Item, Spread, peak, training_memory
from sinternal.study.mending import mend_training, mend_writing
from sinternal.study.task import Task

EFFICIENCY = {"vllm": 0.25, "transformers": 0.1, "llamacpp": 0.25, "training": 0.35}
"""Shares of the roofline that are expected, by who works. Estimates, not measured yet; published for training: 38 to
43 % of an H100's peak for Llama 3 on thousands of them (Grattafiori et al. 2024, arXiv 2407.21783, table 4)."""
HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """What a model does here for one artifact."""

    task: Task
    """The artifact."""
    model: str
    """The model: what is trained, or what writes."""
    gpus: int
    """GPUs that it uses."""
    items: tuple[Item, ...]
    """What each of them has to hold."""
    needed: float
    """Bytes of it at the fullest moment."""
    room: float
    """Bytes that there are for it."""
    read: int
    """Tokens of prompts, each counted as often as it is sent."""
    written: int
    """Tokens written."""
    learned: int
    """Tokens that a trainer goes through."""
    least: Mapping[str, Figure]
    """Seconds at least, by what is done: `reading`, `writing`, `learning`."""
    expected: Mapping[str, Figure]
    """The same as they are expected."""
    mend: str = ""
    """How to make it fit; empty if it does."""

    @property
    def least_hours(self) -> float:
        """Hours at least."""
        return sum(figure.value for figure in self.least.values()) / HOUR

    @property
    def hours(self) -> float:
        """Hours to expect."""
        return sum(figure.value for figure in self.expected.values()) / HOUR


@dataclass(frozen=True)
class Asked:
    """What one artifact takes of servers at most."""

    task: Task
    """The artifact."""
    calls: int
    """Calls."""
    read: int
    """Tokens read."""
    written: int
    """Tokens written."""
    cost: float
    """At the standard price; 0 without one."""
    batch_cost: float
    """At the price of a batch endpoint."""


@dataclass(frozen=True)
class Forecast:
    """What the rest of a plan takes."""

    hardware: Hardware
    """The machine."""
    lengths: Lengths
    """How long texts are assumed to be."""
    works: tuple[Work, ...]
    """What is done here."""
    asked: tuple[Asked, ...]
    """What servers are asked."""
    notes: tuple[str, ...]
    """What is not in these numbers, and what a user should know of them."""

    @property
    def least_hours(self) -> float:
        """Hours at least, one artifact after another."""
        return sum(work.least_hours for work in self.works)

    @property
    def hours(self) -> float:
        """Hours to expect, one artifact after another."""
        return sum(work.hours for work in self.works)

    @property
    def gpu_hours(self) -> float:
        """The same for each GPU that is used."""
        return sum(work.hours * work.gpus for work in self.works)

    @property
    def cost(self) -> float:
        """What servers cost at most."""
        return sum(asked.cost for asked in self.asked)

    @property
    def batch_cost(self) -> float:
        """The same at the price of batch endpoints."""
        return sum(asked.batch_cost for asked in self.asked)

    @property
    def misfits(self) -> list[str]:
        """A sentence for each thing that does not fit, with how to mend it; the same for several artifacts once."""
        sentences: dict[tuple[str, str, str], list[Work]] = {}
        for work in self.works:
            if work.mend:
                sentences.setdefault((work.task.stage.name, work.model, work.mend), []).append(work)
        return [_misfit(self.hardware, works) for works in sentences.values()]


def forecast(
    planned: Sequence[Row],
    hardware: Hardware,
    *,
    configs: Mapping[str, Path] | None = None,
    lengths: Lengths | None = None,
    launch: Launch | None = None,
) -> Forecast:
    """Work out what the artifacts of a plan take that are still to be made.

    Args:
        planned: the lines of the plan, by `sinternal.study.cost.estimate`.
        hardware: the machine.
        configs: files that describe models which are not here, by the models' names.
        lengths: how long texts are assumed to be.
        launch: how the recipe spreads trainings over processes.

    Raises:
        ModelError: nothing says what shape a model has.
        RecipeError: the recipe wants more GPUs for a training than there are.
    """
    lengths = lengths or Lengths()
    rows = [row for row in planned if not row.cached and not row.task.stage.shows_paths]
    if launch is not None:
        _check_launch(launch, hardware)
    maker = _Forecaster(hardware, lengths, configs or {}, Spread.of(launch))
    works = tuple(work for row in rows for work in maker.works(row))
    notes: list[str] = [*dict.fromkeys(maker.notes)]
    try:
        asked = tuple(Asked(row.task, *bound[:5]) for row, bound in server_bounds(rows))
    except SInternalError as error:
        asked = ()
        notes.append(f"what servers are asked is not known beforehand: {error}")
    used = max((work.gpus for work in works), default=0)
    if works and used < hardware.count:
        notes.append(
            f"of {hardware.count} GPUs the recipe uses {used}: training is on one unless `launch` spreads it; engine "
            "vllm spreads a model over `tensor_parallel` of them, engine ray runs `concurrency` copies"
        )
    if launch is not None:
        notes.append("hours of training leave out what processes send each other")
    if launch is not None and launch.config not in PACKAGED:
        notes.append(
            f"launch.config {launch.config} is planned as {launch.sharing}; what it moves to main memory is not counted"
        )
    return Forecast(hardware, lengths, works, asked, tuple(notes))


class _Forecaster:
    """Goes through the artifacts of a plan."""

    def __init__(self, hardware: Hardware, lengths: Lengths, configs: Mapping[str, Path], spread: Spread) -> None:
        self.hardware, self.lengths, self.configs, self.spread = hardware, lengths, configs, spread
        self.notes: list[str] = []
        self._shapes: dict[str, Shape] = {}

    def works(self, row: Row) -> Iterator[Work]:
        """What models do here for an artifact."""
        config = row.task.config
        if isinstance(config, SftConfig):
            yield self._tuning(row.task, config.settings)
        elif isinstance(config, GrpoConfig):
            yield self._reinforcement(row, config.settings)
        else:
            for engine in engines_in(config.model_dump(mode="json")):
                writer = writer_of(engine, self.hardware)
                if writer is not None:
                    model = engine.model or self._target(row.task).model
                    yield self._writing(row, writer, model, self._shape(row.task, engine.model))
        if isinstance(config, CapabilityConfig):
            self.notes.append("hours of `capability` are left out: how many samples its tasks have is not known here")

    def _writing(self, row: Row, writer: Writer, model: str, shape: Shape) -> Work:
        calls = calls_of(row)
        prompt = min(self.lengths.request + question_tokens(row.task), shape.context)
        quoted = min(calls.quoted, self.lengths.answer)
        text = min(calls.longest, self.lengths.text)
        count = 0 if isinstance(row.task.config, CapabilityConfig) else calls.number
        longest = min(prompt + calls.quoted, shape.context)
        usual = prompt + quoted + text
        room = writing_room(
            shape, writer, self.hardware, prompt=longest, text=calls.longest, usual=usual, texts=max(1, count)
        )
        read, written = count * (prompt + quoted), count * text
        fresh = read
        if writer.engine == "vllm":  # its prefix cache: what prompts begin with in common is read once
            fresh = count * (self.lengths.request + quoted) // _samples(row.task)
        least = self._writing_seconds(shape, writer, room.sequences, prompt + quoted + text // 2, fresh, written)
        return Work(
            task=row.task,
            model=model,
            gpus=writer.gpus,
            items=tuple(room.items),
            needed=peak(room.items),
            room=room.limit,
            read=read,
            written=written,
            learned=0,
            least=least,
            expected=self._expected(least, writer.engine),
            mend=mend_writing(shape, writer, self.hardware, room),
        )

    def _writing_seconds(
        self, shape: Shape, writer: Writer, sequences: int, context: int, read: int, written: int
    ) -> dict[str, Figure]:
        """The least time to read prompts and to write texts; `context`: tokens of a text and its prompt, halfway."""
        power = writer.gpus * self.hardware.accelerator.flops
        each = writer.bytes_each(shape)
        reading = formulas.reading_seconds(read=read, active=shape.active_parameters, flops=power)
        cached = formulas.kv_bytes_per_token(layers=shape.layers, kv=shape.kv_width, bytes_each=each)
        decoding = formulas.decoding_seconds(
            written=written / writer.copies,
            sequences=max(1, sequences),
            weights=shape.parameters * each,
            context=context,
            cached=cached.value,
            active=shape.active_parameters,
            bandwidth=writer.split * self.hardware.accelerator.bandwidth,
            flops=writer.split * self.hardware.accelerator.flops,
        )
        return {"reading": reading, "writing": decoding}

    def _tuning(self, task: Task, settings: SftSettings) -> Work:
        shape = self._shape(task)
        rows = settings.of_a_process(self.spread.processes)
        accumulates = rows * self.spread.processes < settings.batch
        batch = Batch(rows, min(settings.max_length, shape.context), accumulates)
        items = training_memory(shape, settings, batch, on_gpu=not self.hardware.is_cpu, spread=self.spread)
        row = min(batch.length, self.lengths.request + question_tokens(task) + self.lengths.text)
        learned = settings.steps * settings.batch * row
        least = {"learning": self._learning_seconds(shape, settings, learned, passes=0)}
        return self._training(task, settings, shape, batch, items, learned=learned, least=least)

    def _reinforcement(self, row: Row, settings: GrpoSettings) -> Work:
        task, shape, rollouts = row.task, self._shape(row.task), settings.rollouts
        prompt = self.lengths.request + question_tokens(task)
        length = min(prompt + rollouts.max_tokens, shape.context)
        processes = self.spread.processes
        micro = settings.of_a_process(processes)
        batch = Batch(micro, length, accumulates=micro * processes < settings.of_an_update)
        items = training_memory(shape, settings, batch, on_gpu=not self.hardware.is_cpu, spread=self.spread)
        here = rollouts.engine is RolloutEngine.TRANSFORMERS
        served = rollouts.engine is RolloutEngine.VLLM_SERVER
        side_by_side = settings.of_a_step // (1 if served else processes)
        copies = 1 if served else self._computing
        writer = Writer("transformers" if here else "vllm", side_by_side, copies=copies)
        if here:
            room = writing_room(
                shape,
                writer,
                self.hardware,
                prompt=prompt,
                text=rollouts.max_tokens,
                usual=length,
                texts=side_by_side,
            )
            items = [*items, *(Item(f"rollouts: {item.name}", item.figure, LOSS) for item in room.items[1:])]
        elif rollouts.engine is RolloutEngine.VLLM_COLOCATE:
            taken = formulas.share_bytes(share=rollouts.vllm_memory, memory=self.hardware.accelerator.memory)
            items = [*items, Item("vLLM", taken)]
        else:
            self.notes.append("the GPUs of the server that writes rollouts are not counted")
        for engine in engines_in(task.config.model_dump(mode="json")):
            if writer_of(engine, self.hardware) is not None and engine.model:
                judge = self._shape(task, engine.model)
                weights = formulas.weight_bytes(parameters=judge.parameters, bytes_each=judge.bytes_each)
                items = [*items, Item(f"judge {engine.model}", weights)]
        if here and self.spread.divides and self.spread.sharing is Sharing.ZERO3:  # TRL's ds3_gather_for_generation
            whole = formulas.weight_bytes(parameters=shape.parameters, bytes_each=formulas.BFLOAT16)
            items = [*items, Item("rollouts: gathered weights", whole, LOSS)]
        if settings.beta and settings.method is Method.FULL:
            reference = formulas.weight_bytes(parameters=shape.parameters, bytes_each=FLOAT32)
            items = [*items, Item("reference", self.spread.share(reference))]
        text = min(rollouts.max_tokens, self.lengths.text)
        written = (row.costs.calls or 0) * text
        read = (row.costs.calls or 0) * prompt
        learned = settings.steps * settings.of_a_step * (prompt + text)
        passes = int(not here or settings.minibatches > 1) + int(settings.beta > 0)
        fresh = read if here else read // rollouts.n  # vLLM reads the prompt of a group once
        writing = self._writing_seconds(shape, writer, side_by_side, prompt + text // 2, fresh, written)
        learning = {"learning": self._learning_seconds(shape, settings, learned, passes=passes)}
        expected = self._expected(writing, writer.engine) | self._expected(learning, "training")
        work = self._training(task, settings, shape, batch, items, learned=learned, least=writing | learning)
        return replace(work, read=read, written=written, expected=expected)

    def _training(
        self,
        task: Task,
        settings: SftSettings | GrpoSettings,
        shape: Shape,
        batch: Batch,
        items: list[Item],
        *,
        learned: int,
        least: Mapping[str, Figure],
    ) -> Work:
        if self.hardware.is_cpu:
            limit = self.hardware.accelerator.memory / self.spread.processes
        else:
            limit = self.hardware.accelerator.memory - SERVING_CONTEXT
        return Work(
            task=task,
            model=self._target(task).model,
            gpus=self._computing,
            items=tuple(items),
            needed=peak(items),
            room=limit,
            read=0,
            written=0,
            learned=learned,
            least=least,
            expected=self._expected(least, "training"),
            mend=mend_training(shape, settings, batch, items, self.hardware, limit, self.spread),
        )

    @property
    def _computing(self) -> int:
        """Accelerators that train together: on a processor, processes have its cores together."""
        return 1 if self.hardware.is_cpu else self.spread.processes

    def _learning_seconds(
        self, shape: Shape, settings: SftSettings | GrpoSettings, learned: int, *, passes: int
    ) -> Figure:
        """The least time to learn from tokens; `passes`: forward passes beside those of the training itself."""
        operations = formulas.FULL_OPERATIONS if settings.method is Method.FULL else formulas.LORA_OPERATIONS
        recomputed = passes + (0 if self.hardware.is_cpu else 1)
        return formulas.training_seconds(
            operations=operations + formulas.RECOMPUTATION * recomputed,
            active=shape.active_parameters,
            tokens=learned,
            flops=self._computing * self.hardware.accelerator.flops,
        )

    def _expected(self, least: Mapping[str, Figure], who: str) -> dict[str, Figure]:
        return {
            name: formulas.expected_seconds(least=figure.value, efficiency=EFFICIENCY[who])
            for name, figure in least.items()
        }

    def _target(self, task: Task) -> TargetConfig:
        """The untrained model that a task descends from."""
        while not isinstance(task.config, TargetConfig):
            task = task.inputs["model"]
        return task.config

    def _shape(self, task: Task, model: str | None = None) -> Shape:
        """The shape of a model that a task's settings name, or of the one that the task descends from."""
        target = self._target(task) if model is None else TargetConfig(model=model)
        if target.model not in self._shapes:
            self._shapes[target.model] = find_shape(
                target.model, target.revision, target.options, self.configs.get(target.model)
            )
        return self._shapes[target.model]


def _check_launch(launch: Launch, hardware: Hardware) -> None:
    """Make sure that there is a GPU for each process. Raises RecipeError."""
    if hardware.is_cpu or launch.processes <= hardware.count:
        return
    fewer = f"set launch.processes={hardware.count}" if hardware.count > 1 else "leave launch out"
    raise RecipeError(
        f"launch.processes is {launch.processes}, a GPU for each on all machines together, and {hardware.name} has "
        f"{hardware.count}: plan for {launch.processes}x{hardware.accelerator.name}, or {fewer}"
    )


def _samples(task: Task) -> int:
    """Texts that are drawn for each prompt."""
    return task.config.sampling.n if isinstance(task.config, SampleConfig | SelfVerifyConfig) else 1


def _misfit(hardware: Hardware, works: Sequence[Work]) -> str:
    """What does not fit, and how to mend it."""
    first = works[0]
    more = f" (and {len(works) - 1} like it)" if len(works) > 1 else ""
    return (
        f"{first.task.label}{more} does not fit: {first.model} needs {first.needed / 1e9:,.0f} GB of each GPU, and "
        f"{hardware.accelerator.name} has {first.room / 1e9:,.0f} GB for it; {first.mend}"
    )
