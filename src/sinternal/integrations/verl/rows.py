"""Rows as verl's data sets have them, and their Parquet files.

Reinforcement learning: https://verl.readthedocs.io/en/latest/preparation/prepare_data.html. Fine-tuning: conversations
in the column `messages`, as its MultiTurnSFTDataset reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.benchmarks.mathematics import SOLUTION
from sinternal.columns import from_columns
from sinternal.parquet import COMPRESSION
from sinternal.prompting.think import write_completion
from sinternal.records import Example, Prompt
from sinternal.store.files import new_file
from sinternal.training.rewards import Kind
from sinternal.training.schedule import Turn

if TYPE_CHECKING:
    from arro3.core import Array

Messages = Sequence[tuple[str, str]]
"""A conversation: (role, content) pairs."""
SOURCE = "sinternal"
"""Begins the name of each data source, so that verl's own reward functions are not taken for them."""
BY_RULE, BY_MODEL = "rule", "model"
"""Styles of a reward: whether a rule decides on it or a judge."""


@dataclass(frozen=True)
class RewardRow:
    """A prompt in its place in a step, with all that its reward is worked out from."""

    data_source: str
    """The benchmark, behind `SOURCE`."""
    messages: Messages
    """The conversation that the policy continues."""
    ability: str
    """What is rewarded: a `Kind`."""
    style: str
    """`BY_RULE` or `BY_MODEL`."""
    ground_truth: str
    """What is right: a solution, a verdict, or what a judge should say."""
    split: str
    """`train`, or `test` for prompts by which learning is watched."""
    index: int
    """Number of the row."""
    prompt: str
    """Our own record of the prompt, as JSON."""


def reward_rows(
    turns: Sequence[Turn], ask: Callable[[Prompt], Messages], verify: Callable[[Prompt, str], Messages], split: str
) -> list[RewardRow]:
    """The prompts of all steps, one step after the other.

    Args:
        turns: what each step asks for; verifications have a stored answer.
        ask: the conversation in which a prompt is sent.
        verify: the conversation that asks whether an answer is safe.
        split: `train` or `test`.
    """
    return [
        RewardRow(
            data_source=f"{SOURCE}/{turn.prompt.benchmark}",
            messages=verify(turn.prompt, turn.stored.answer) if turn.stored else ask(turn.prompt),
            ability=turn.kind.value,
            style=BY_MODEL if turn.kind in (Kind.HARMFUL, Kind.BENIGN) else BY_RULE,
            ground_truth=_ground_truth(turn),
            split=split,
            index=index,
            prompt=json.dumps(asdict(turn.prompt)),
        )
        for index, turn in enumerate(turns)
    ]


def _ground_truth(turn: Turn) -> str:
    if turn.stored is not None:
        return turn.stored.label.value
    if turn.kind is Kind.MATHEMATICS:
        return str(turn.prompt.facts[SOLUTION])
    return "safe" if turn.kind is Kind.HARMFUL else "safe and no refusal"


def read_prompt(text: str) -> Prompt:
    """The prompt that a row holds."""
    return from_columns(Prompt, json.loads(text))


def conversation(example: Example, content: Callable[[Example], str] | None = None) -> Messages:
    """A training example as a conversation.

    Args:
        example: the example.
        content: writes the assistant's turn as the model's template has it; None: thinking between `<think>` and
            `</think>`, then the answer.
    """
    turn = content(example) if content else write_completion(example.thinking, example.answer)
    opening = (("system", example.system),) if example.system else ()
    return (*opening, ("user", example.prompt), ("assistant", turn))


def write_reward_rows(path: Path, rows: Sequence[RewardRow]) -> None:
    """Write rows for reinforcement learning."""
    _write(
        path,
        {
            "data_source": _strings([row.data_source for row in rows]),
            "prompt": _conversations([row.messages for row in rows]),
            "ability": _strings([row.ability for row in rows]),
            "reward_model": _struct(
                {
                    "style": _strings([row.style for row in rows]),
                    "ground_truth": _strings([row.ground_truth for row in rows]),
                }
            ),
            "extra_info": _struct(
                {
                    "split": _strings([row.split for row in rows]),
                    "index": _integers([row.index for row in rows]),
                    "kind": _strings([row.ability for row in rows]),
                    "prompt": _strings([row.prompt for row in rows]),
                }
            ),
        },
    )


def write_conversations(path: Path, conversations: Sequence[Messages]) -> None:
    """Write rows for fine-tuning."""
    _write(path, {"messages": _conversations(conversations)})


def _write(path: Path, columns: dict[str, Array]) -> None:
    from arro3.core import Field, Schema, Table
    from arro3.io import write_parquet

    schema = Schema([Field(name, array.type) for name, array in columns.items()])
    with new_file(path) as stream:
        write_parquet(Table.from_arrays(list(columns.values()), schema=schema), stream, compression=COMPRESSION)


def _conversations(conversations: Sequence[Messages]) -> Array:
    """A column of lists of {role, content}, which arro3 does not build from Python values by itself."""
    from arro3.core import Array, DataType, Field, list_array

    ends = [0]
    for messages in conversations:
        ends.append(ends[-1] + len(messages))
    turns = [turn for messages in conversations for turn in messages]
    parts = {"role": _strings([role for role, _ in turns]), "content": _strings([text for _, text in turns])}
    flat = _struct(parts)
    return list_array(Array(ends, DataType.int32()), flat, type=DataType.list(Field("item", flat.type)))


def _struct(parts: dict[str, Array]) -> Array:
    from arro3.core import Field, struct_array

    return struct_array(list(parts.values()), fields=[Field(name, array.type) for name, array in parts.items()])


def _strings(values: Sequence[str]) -> Array:
    return _array(values, "string")


def _integers(values: Sequence[int]) -> Array:
    return _array(values, "int64")


def _array(values: Sequence[Any], kind: str) -> Array:
    from arro3.core import Array, DataType

    return Array(list(values), DataType.string() if kind == "string" else DataType.int64())
