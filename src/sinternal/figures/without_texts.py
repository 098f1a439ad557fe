"""Figures without the texts behind them, for pages that are shared with others.

Of each text its length and a keyed hash stay, and all labels: who has the key can tell a text that they have, everybody
else only that two texts of the same copy are the same. Ids of prompts, which are hashes of their texts, are hashed with
the key, too. `sinternal.redaction` is something else: it keeps keys and passwords out of whatever is written down.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from sinternal.figures.diagnosis import Case, Diagnosed
from sinternal.figures.outcomes import Outcome
from sinternal.figures.study import ReportData, Transcript, Turn
from sinternal.records import Measured, Verification

T = TypeVar("T")
DIGITS = 16
"""Of a hash: enough to say that two texts are the same."""
KEY_FILE = "redaction.key"
"""In a run's folder, for its owner alone: what hashes of its copies without texts are keyed with."""
KEY_BYTES = 32
LONG = 80
"""Characters from which a setting counts as a text."""
OWN_WORDS = ("description",)
"""Settings in which the author of a recipe speaks to the reader."""
_PATH = re.compile(r"(?<![\w.:/~\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;:<>|()\[\]{}]+)+")


class Hider:
    """What stands in the place of texts in one copy; the same for equal texts."""

    def __init__(self, key: bytes | None = None) -> None:
        """Take the key of the copy; by default one that nobody will know."""
        self._key = key or secrets.token_bytes(KEY_BYTES)

    def hash(self, text: str) -> str:
        """A hash that nobody can make without the key."""
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:DIGITS]

    def left_out(self, text: str) -> str:
        """What stands in the place of a text: `[text left out: 1,204 characters, keyed hash 0f3a…]`."""
        return f"[text left out: {len(text):,} characters, keyed hash {self.hash(text)}]"

    def maybe(self, text: str | None) -> str | None:
        """The same, if there is a text."""
        return None if text is None else self.left_out(text)


def hider_of(folder: Path) -> Hider:
    """The hider of a run: its key is made with its first copy, and stays in its folder, readable for its owner alone.

    Where none can be kept, each copy has a key of its own.
    """
    path = folder / KEY_FILE
    key = secrets.token_bytes(KEY_BYTES)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(key)
        return Hider(key)
    except FileExistsError:
        kept = b"" if path.is_symlink() or not path.is_file() else path.read_bytes()
        return Hider(kept if len(kept) == KEY_BYTES else key)
    except OSError:
        return Hider(key)


def without_paths(text: str) -> str:
    """A text in which the folders of files are left out, as they tell of the machine and its user."""

    def last(path: re.Match[str]) -> str:
        parts = re.split(r"[/\\]", path[0])
        return path[0] if len(parts) == 2 and not parts[0] else f"\u2026/{parts[-1]}"

    home = str(Path.home())
    return _PATH.sub(last, text.replace(home, "~") if len(home) > 1 else text)


def study_without_texts(data: ReportData, calls: Iterable[str], hider: Hider) -> ReportData:
    """A study whose page shows no text.

    Args:
        data: the study.
        calls: what a reader should know of its calls, without the words of servers, which may quote what they were
            asked.
        hider: what stands in the place of texts.
    """
    plain = replace(data, calls=tuple(calls), transcripts=(), measured=())
    return replace(
        map_texts(plain, without_paths),
        variants=tuple(replace(variant, overrides=_settings(variant.overrides, hider)) for variant in data.variants),
        recipe_yaml=yaml.safe_dump(
            _settings(yaml.safe_load(data.recipe_yaml), hider), sort_keys=False, allow_unicode=True
        ),
        transcripts=_Transcripts(data.transcripts, hider),
        measured=HiddenRows(data.measured, hider),
        texts_left_out=True,
    )


def diagnosis_without_texts(diagnosed: Diagnosed, hider: Hider) -> Diagnosed:
    """A diagnosis whose page shows no text."""
    outcomes = {outcome.response.id: _outcome(outcome, hider) for outcome in diagnosed.outcomes}
    target = diagnosed.settings.target
    named = target.model_copy(update={"model": without_paths(target.model)})
    return replace(
        diagnosed,
        model=without_paths(diagnosed.model),
        figures=map_texts(diagnosed.figures, without_paths),
        cases=tuple(_case(case, outcomes, hider) for case in diagnosed.cases),
        settings=diagnosed.settings.model_copy(update={"target": named}),
        outcomes=tuple(outcomes.values()),
        texts_left_out=True,
    )


def settings_without_texts(settings: Mapping[str, Any], hider: Hider) -> dict[str, Any]:
    """Settings without texts for models, and without the folders of files."""
    return cast(dict[str, Any], _settings(settings, hider))


class _Transcripts(Collection[Transcript]):
    """Transcripts whose texts are left out as they are gone through."""

    def __init__(self, rows: Collection[Transcript], hider: Hider) -> None:
        self.rows, self.hider = rows, hider

    def __iter__(self) -> Iterator[Transcript]:
        for row in self.rows:
            yield replace(
                row,
                prompt=self.hider.left_out(row.prompt),
                thinking=self.hider.maybe(row.thinking),
                answer=self.hider.maybe(row.answer),
                critique=self.hider.maybe(row.critique),
                critique_with_spec=self.hider.maybe(row.critique_with_spec),
                check=None,
                prompt_id=row.prompt_id and self.hider.hash(row.prompt_id),
                turns=tuple(_turn(turn, self.hider) for turn in row.turns),
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, row: object) -> bool:
        return any(own == row for own in self)


def _turn(turn: Turn, hider: Hider) -> Turn:
    return replace(
        turn,
        query=hider.maybe(turn.query),
        system=turn.system and hider.left_out(turn.system),
        prefill=turn.prefill and hider.left_out(turn.prefill),
        thinking=hider.maybe(turn.thinking),
        answer=hider.maybe(turn.answer),
        note=turn.note and hider.left_out(turn.note),
    )


class HiddenRows(Iterable[Measured]):
    """Measured responses whose prompts nobody can tell by their ids, and that can be paired within this copy."""

    def __init__(self, rows: Iterable[Measured], hider: Hider) -> None:
        """Take the rows, and the copy's hider."""
        self.rows, self.hider = rows, hider

    def __iter__(self) -> Iterator[Measured]:
        hide = self.hider.hash
        for row in self.rows:
            yield replace(row, id=hide(row.id), prompt_id=hide(row.prompt_id), parent_id=hide(row.parent_id))


def _outcome(outcome: Outcome, hider: Hider) -> Outcome:
    prompt, response = outcome.prompt, outcome.response
    return replace(
        outcome,
        prompt=replace(
            prompt,
            text=hider.left_out(prompt.text),
            goal=prompt.goal and hider.left_out(prompt.goal),
            system=prompt.system and hider.left_out(prompt.system),
            prefill=prompt.prefill and hider.left_out(prompt.prefill),
            meta="{}",
        ),
        response=replace(
            response,
            thinking=hider.maybe(response.thinking),
            answer=hider.maybe(response.answer),
            error=hider.maybe(response.error),
        ),
        judgement=replace(outcome.judgement, error=hider.maybe(outcome.judgement.error)),
        verifications=tuple(_verification(row, hider) for row in outcome.verifications),
    )


def _verification(row: Verification, hider: Hider) -> Verification:
    return replace(
        row,
        prompt=hider.left_out(row.prompt),
        critique=hider.maybe(row.critique),
        answer=hider.maybe(row.answer),
        dropped=hider.maybe(row.dropped),
    )


def _case(case: Case, outcomes: Mapping[str, Outcome], hider: Hider) -> Case:
    return replace(
        case, outcome=outcomes[case.outcome.response.id], verification=_verification(case.verification, hider)
    )


def _settings(value: Any, hider: Hider, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _settings(inner, hider, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_settings(inner, hider, name) for inner in value]
    if not isinstance(value, str) or name in OWN_WORDS:
        return value
    is_text = len(value) > LONG or "\n" in value or (bool(value) and name.rpartition(".")[2] == "system")
    return hider.left_out(value) if is_text and "/" not in value[:2] else without_paths(value)


def map_texts(value: T, change: Callable[[str], str], keep: Collection[str] = ()) -> T:
    """The same value with every text in it changed.

    Args:
        value: texts, data classes, tuples and mappings, at any depth; members of enumerations and settings stay.
        change: what becomes of a text.
        keep: names of fields that stay.
    """
    made: Any = value
    if type(made) is str:
        made = change(made)
    elif isinstance(value, tuple):
        inner = [map_texts(part, change, keep) for part in value]
        made = type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    elif isinstance(value, dict):
        made = {name: map_texts(part, change, keep) for name, part in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        names = [part.name for part in fields(value) if part.name not in keep]
        parts = {name: map_texts(getattr(value, name), change, keep) for name in names}
        made = replace(value, **parts)
    return cast(T, made)
