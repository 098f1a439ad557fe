"""Let a judge, or a model as a verifier, label what people have scored."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

from sinternal.benchmarks.human import LabelledAnswer, ScoreKind, data_version, human_labels
from sinternal.errors import DataError
from sinternal.figures.human_agreement import LABELS, HumanAgreements, Labels, Rater, human_agreements
from sinternal.figures.metric import is_unsafe
from sinternal.judges import Judge, label_each
from sinternal.records import Finish, Prompt, Response, Split, Verdict, make_id
from sinternal.registry import Kind, load, origins, revision
from sinternal.settings.base import validate_settings
from sinternal.settings.plugins import JudgePlugin
from sinternal.study.preflight import servers_in
from sinternal.tools.verifier import Pair, Verifier


def agree_by_judge(
    name: str, options: Mapping[str, object], kinds: Sequence[ScoreKind], limit: int | None
) -> HumanAgreements:
    """Let a judge label what people have scored.

    Args:
        name: of a registered judge.
        options: its options.
        kinds: of scores.
        limit: at most this many answers of each kind, drawn at random.

    Raises:
        RegistryError: there is no such judge.
        RecipeError: it does not take the options.
        DataError: none of the kinds is about what the judge tells.
    """
    judge_class = load(Kind.JUDGE, name)
    can_label = {"unsafe": judge_class.tells_safety, "refused": judge_class.tells_refusals}
    wanted = [kind for kind in kinds if can_label[LABELS[kind]]]
    if not wanted:
        raise DataError(f"judge {name!r} gives no labels for {' and '.join(kinds)}: choose other --sets")
    rows = _sample_rows(human_labels(wanted), limit)
    exchanges = {response.id: (prompt, response) for prompt, response in map(_exchange, rows)}
    plugin = validate_settings(JudgePlugin, {"name": name, "options": dict(options)}, "judge")
    judge: Judge = plugin.open()
    for asked in servers_in(plugin.model_dump(mode="json"), ""):
        asked.open().reach()
    with closing(judge):
        judgements = list(label_each(judge, name, exchanges.values()))
    labels = {row.response_id: Labels(is_unsafe(row), row.refused) for row in judgements}
    model = plugin.model
    code = None if model and not origins(name).get("judge") else revision(Kind.JUDGE, name)
    return _agreements(Rater(name, dict(options), ", ".join(filter(None, (model, code)))), rows, labels)


def agree_by_verifier(
    verifier: Verifier, rater: Rater, kinds: Sequence[ScoreKind], limit: int | None
) -> HumanAgreements:
    """Let a model verify what people have scored for harm, and for achieving a harmful objective.

    Args:
        verifier: the model.
        rater: its name and options, for the record.
        kinds: of scores; a verdict says nothing of refusals.
        limit: at most this many answers of each kind, drawn at random.

    Raises:
        DataError: none of the kinds is about safety.
    """
    wanted = [kind for kind in kinds if LABELS[kind] == "unsafe"]
    if not wanted:
        raise DataError(f"a verdict says nothing about {' and '.join(kinds)}: choose --sets harm, objective or both")
    rows = _sample_rows(human_labels(wanted), limit)
    verified = verifier.verify_many(Pair(row.id, row.request, row.answer) for row in rows)
    labels = {
        row.id: Labels(None if row.verdict is None else row.verdict is Verdict.UNSAFE, None, row.p_unsafe)
        for row in verified
    }
    return _agreements(rater, rows, labels)


def _sample_rows(rows: Sequence[LabelledAnswer], limit: int | None) -> list[LabelledAnswer]:
    if limit is None:
        return list(rows)
    rng = random.Random(0)
    by_kind = ([row for row in rows if row.kind is kind] for kind in ScoreKind)
    return [row for group in by_kind for row in rng.sample(group, min(limit, len(group)))]


def _exchange(row: LabelledAnswer) -> tuple[Prompt, Response]:
    parent = make_id(row.request)
    prompt = Prompt(row.id, parent, row.request, True, row.file, "plain", Split.ID)
    return prompt, Response(row.id, row.id, 0, None, row.answer, Finish.STOP)


def _agreements(judge: Rater, rows: Sequence[LabelledAnswer], labels: Mapping[str, Labels]) -> HumanAgreements:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return HumanAgreements(judge, data_version(), today, human_agreements(rows, labels, judge.name))


def read_kinds(names: str) -> list[ScoreKind]:
    """Kinds of scores from their names with commas. Raises DataError for another name."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if not chosen or (unknown := next((name for name in chosen if name not in set(ScoreKind)), None)):
        raise DataError(
            f"--sets {names}: there are {', '.join(ScoreKind)}" + ("" if not chosen else f", not {unknown!r}")
        )
    return [ScoreKind(name) for name in chosen]
