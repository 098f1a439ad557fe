"""Figures without the texts behind them, for pages that are shared with others.

Of each text its length and the beginning of its hash stay, and all labels. `sinternal.redaction` is something else: it
keeps keys and passwords out of whatever is written down.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from sinternal.figures.diagnosis import Case, Diagnosed
from sinternal.figures.outcomes import Outcome
from sinternal.figures.study import ReportData, Transcript
from sinternal.records import Verification

T = TypeVar("T")
DIGITS = 16
"""Of a hash: enough to say that two texts are the same, or that one is a text that the reader has."""
LONG = 80
"""Characters from which a setting counts as a text."""
OWN_WORDS = ("description",)
"""Settings in which the author of a recipe speaks to the reader."""
_PATH = re.compile(r"(?<![\w.:/~\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;:<>|()\[\]{}]+)+")


def left_out(text: str) -> str:
    """What stands in the place of a text: `[text left out: 1,204 characters, sha256 0f3a…]`."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    return f"[text left out: {len(text):,} characters, sha256 {digest}]"


def without_paths(text: str) -> str:
    """A text in which the folders of files are left out, as they tell of the machine and its user."""

    def last(path: re.Match[str]) -> str:
        parts = re.split(r"[/\\]", path[0])
        return path[0] if len(parts) == 2 and not parts[0] else f"\u2026/{parts[-1]}"

    home = str(Path.home())
    return _PATH.sub(last, text.replace(home, "~") if len(home) > 1 else text)


def study_without_texts(data: ReportData, calls: Iterable[str]) -> ReportData:
    """A study whose page shows no text.

    Args:
        data: the study.
        calls: what a reader should know of its calls, without the words of servers, which may quote what they were
            asked.
    """
    plain = replace(data, calls=tuple(calls), transcripts=(), measured=())
    return replace(
        map_texts(plain, without_paths),
        variants=tuple(replace(variant, overrides=_settings(variant.overrides)) for variant in data.variants),
        recipe_yaml=yaml.safe_dump(_settings(yaml.safe_load(data.recipe_yaml)), sort_keys=False, allow_unicode=True),
        transcripts=_Transcripts(data.transcripts),
        measured=data.measured,
        texts_left_out=True,
    )


def diagnosis_without_texts(diagnosed: Diagnosed) -> Diagnosed:
    """A diagnosis whose page shows no text."""
    outcomes = {outcome.response.id: _outcome(outcome) for outcome in diagnosed.outcomes}
    target = diagnosed.settings.target
    named = target.model_copy(update={"model": without_paths(target.model)})
    return replace(
        diagnosed,
        model=without_paths(diagnosed.model),
        figures=map_texts(diagnosed.figures, without_paths),
        cases=tuple(_case(case, outcomes) for case in diagnosed.cases),
        settings=diagnosed.settings.model_copy(update={"target": named}),
        outcomes=tuple(outcomes.values()),
        texts_left_out=True,
    )


def settings_without_texts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without texts for models, and without the folders of files."""
    return cast(dict[str, Any], _settings(settings))


class _Transcripts(Collection[Transcript]):
    """Transcripts whose texts are left out as they are gone through."""

    def __init__(self, rows: Collection[Transcript]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Transcript]:
        for row in self.rows:
            yield replace(
                row,
                prompt=left_out(row.prompt),
                thinking=_maybe(row.thinking),
                answer=_maybe(row.answer),
                critique=_maybe(row.critique),
                critique_with_spec=_maybe(row.critique_with_spec),
                check=None,
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, row: object) -> bool:
        return any(own == row for own in self)


def _outcome(outcome: Outcome) -> Outcome:
    prompt, response = outcome.prompt, outcome.response
    return replace(
        outcome,
        prompt=replace(
            prompt,
            text=left_out(prompt.text),
            goal=prompt.goal and left_out(prompt.goal),
            system=prompt.system and left_out(prompt.system),
            prefill=prompt.prefill and left_out(prompt.prefill),
            meta="{}",
        ),
        response=replace(
            response,
            thinking=_maybe(response.thinking),
            answer=_maybe(response.answer),
            error=_maybe(response.error),
        ),
        judgement=replace(outcome.judgement, error=_maybe(outcome.judgement.error)),
        verifications=tuple(map(_verification, outcome.verifications)),
    )


def _verification(row: Verification) -> Verification:
    return replace(
        row,
        prompt=left_out(row.prompt),
        critique=_maybe(row.critique),
        answer=_maybe(row.answer),
        dropped=_maybe(row.dropped),
    )


def _case(case: Case, outcomes: Mapping[str, Outcome]) -> Case:
    return replace(case, outcome=outcomes[case.outcome.response.id], verification=_verification(case.verification))


def _maybe(text: str | None) -> str | None:
    return None if text is None else left_out(text)


def _settings(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _settings(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_settings(inner, name) for inner in value]
    if not isinstance(value, str) or name in OWN_WORDS:
        return value
    is_text = len(value) > LONG or "\n" in value or (bool(value) and name.rpartition(".")[2] == "system")
    return left_out(value) if is_text and "/" not in value[:2] else without_paths(value)


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
