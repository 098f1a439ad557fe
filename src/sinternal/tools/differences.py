"""In what two finished runs differ: their recipes field by field, and what stands behind the names in them.

A recipe names files, plug-ins and models; that two recipes are alike does not say that these were. So the prompts that
were measured, the judges' revisions and, where a run's folder leads to its artifacts, what each was made from are
compared, too.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sinternal.records import Measured
from sinternal.report.results import Results
from sinternal.settings.files import read_recipe
from sinternal.store import Artifact, Store
from sinternal.store.sums import checked
from sinternal.study.run import ARTIFACTS, LAST, RECIPE, find_last

WORDS = frozenset({"name", "description", "workers"})
"""Fields of a recipe that no figure depends on."""
NAMES = ("name", "benchmark", "task")
"""What entries of lists are known by."""
NOWHERE = "(not there)"
DATA, JUDGE, SPECIFICATION, DECODING = "benchmark data", "judge", "specification", "decoding"
BEARS = {
    "prompts.eval": DATA,
    "prompts.eval_attacks": DATA,
    "prompts.eval_limit": DATA,
    "judges": JUDGE,
    "verification": SPECIFICATION,
    "evaluation.specification": SPECIFICATION,
    "evaluation.engine": DECODING,
    "evaluation.sampling": DECODING,
    "evaluation.verification_sampling": DECODING,
    "target.system": DECODING,
}
"""By what fields figures cease to be comparable, and what that is called."""
BEHIND = {"evaluation_prompts": DATA, "judgements": JUDGE, "verifications": SPECIFICATION}
"""The same for artifacts."""


@dataclass(frozen=True)
class Difference:
    """Something that two runs do not have in common."""

    path: str
    """What: a field of the recipe by its dotted path, entries of lists by name; or what stands behind one."""
    a: str
    """What it is in the first."""
    b: str
    """What it is in the second."""
    bears_on: str = ""
    """Why figures of the two are then not comparable: other `benchmark data`, `judge`, `specification`, `decoding`."""


@dataclass(frozen=True)
class Measurements:
    """A run as its files have it."""

    folder: Path
    """Where it is."""
    results: Results
    """Its figures."""
    rows: list[Measured]
    """What was measured."""


def differences(a: Measurements, b: Measurements) -> tuple[Difference, ...]:
    """In what two runs differ, recipes first; what only says how they were made side by side is left out."""
    found = [*_of_recipes(a.folder, b.folder), *_of_prompts(a.rows, b.rows)]
    found += _of_judges(a.results, b.results)
    known = {difference.path for difference in found}
    found += [row for row in _of_artifacts(a.folder, b.folder) if row.path not in known]
    return tuple(found)


def in_words(found: tuple[Difference, ...], a: Path, b: Path) -> Iterator[str]:
    """What a reader should know before the figures: that nothing differs, or that they are not comparable."""
    for folder in (a, b):
        if not (folder / RECIPE).is_file():
            yield f"{folder} has no {RECIPE}: in what its recipe differs is not known"
        if not (folder / ARTIFACTS).is_dir():
            yield f"{folder} has no {ARTIFACTS}: what its files and plug-ins were is known by prompts and judges alone"
    if not found:
        yield "recipes, measured prompts and judges are the same in both runs, and so is what else their folders tell"
    for reason in dict.fromkeys(difference.bears_on for difference in found if difference.bears_on):
        fields = [difference.path for difference in found if difference.bears_on == reason]
        more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
        listed = f"{', '.join(fields[:3])}{more}"
        yield f"not comparable as they stand: different {reason} ({listed}); {CONSEQUENCES[reason]}"


CONSEQUENCES = {
    DATA: "only prompts that both runs have are compared here, and figures of the two reports are of different prompts",
    JUDGE: "a difference may be one of the judges",
    SPECIFICATION: "the models were asked to verify in another way",
    DECODING: "a difference may come from how answers were drawn",
}


def to_json(found: tuple[Difference, ...]) -> list[dict[str, str]]:
    """Differences as plain values."""
    return [asdict(difference) for difference in found]


def _of_recipes(a: Path, b: Path) -> Iterator[Difference]:
    if (a / RECIPE).is_file() and (b / RECIPE).is_file():
        ours, theirs = (read_recipe(str(checked(folder / RECIPE))) for folder in (a, b))
        for name in dict.fromkeys([*ours, *theirs]):
            if name not in WORDS:
                yield from _differ(name, ours.get(name), theirs.get(name))


def _differ(path: str, a: Any, b: Any) -> Iterator[Difference]:
    if a == b:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys([*a, *b]):
            yield from _differ(f"{path}.{name}", a.get(name, NOWHERE), b.get(name, NOWHERE))
        return
    ours, theirs = _by_name(a), _by_name(b)
    if ours is None or theirs is None:
        yield _difference(path, _text(a), _text(b))
        return
    common = [name for name in ours if name in theirs]
    if len(common) < max(len(ours), len(theirs)) or common != [name for name in theirs if name in ours]:
        yield _difference(path, ", ".join(ours) or NOWHERE, ", ".join(theirs) or NOWHERE)
    for name in common:
        yield from _differ(f"{path}.{name}", ours[name], theirs[name])


def _by_name(entries: Any) -> dict[str, Any] | None:
    """The entries of a list by their names; None if they have none, or not each its own."""
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return None
    names = [next((str(entry[field]) for field in NAMES if field in entry), None) for entry in entries]
    if None in names or len(set(names)) < len(names):
        return None
    return dict(zip(map(str, names), entries, strict=True))


def _difference(path: str, a: str, b: str) -> Difference:
    reason = next((why for field, why in BEARS.items() if path == field or path.startswith(f"{field}.")), "")
    return Difference(path, a, b, reason)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _of_prompts(a: list[Measured], b: list[Measured]) -> Iterator[Difference]:
    ours, theirs = _prompts(a), _prompts(b)
    for benchmark in dict.fromkeys([*ours, *theirs]):
        first, second = ours.get(benchmark, frozenset()), theirs.get(benchmark, frozenset())
        if first != second:
            common = len(first & second)
            yield Difference(
                f"prompts measured of {benchmark}", _data(first, common), _data(second, common), bears_on=DATA
            )


def _prompts(rows: list[Measured]) -> dict[str, frozenset[str]]:
    prompts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        prompts[row.benchmark].add(row.prompt_id)  # which is made from its text
    return {benchmark: frozenset(ids) for benchmark, ids in prompts.items()}


def _data(ids: frozenset[str], common: int) -> str:
    if not ids:
        return NOWHERE
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]
    return f"{len(ids)}, {common} of them in both; sha256 {digest}"


def _of_judges(a: Results, b: Results) -> Iterator[Difference]:
    ours, theirs = _revisions(a), _revisions(b)
    for judge in ours:
        if judge in theirs and ours[judge] != theirs[judge]:
            yield Difference(f"revision of judge {judge}", ours[judge], theirs[judge], bears_on=JUDGE)


def _revisions(results: Results) -> dict[str, str]:
    revisions: dict[str, dict[str, None]] = defaultdict(dict)
    for score in results.scores:
        if " and " not in score.provenance.judge:
            revisions[score.provenance.judge][score.provenance.judge_revision] = None
    return {judge: "; ".join(own) for judge, own in revisions.items()}


def _of_artifacts(a: Path, b: Path) -> Iterator[Difference]:
    """What was behind names in the recipes, as far as the artifacts of both runs are there."""
    ours, theirs = _artifacts(a), _artifacts(b)
    if not ours or not theirs:
        return
    for what, noun in (("plugins", "plug-in"), ("packages", "package")):
        first, second = _versions(ours, what), _versions(theirs, what)
        for name in sorted({*first, *second}):
            if first.get(name) != second.get(name):
                reason = JUDGE if noun == "plug-in" and name.startswith("judge") else ""
                yield Difference(f"{noun} {name}", first.get(name, NOWHERE), second.get(name, NOWHERE), reason)
    told = set()
    for place in ours:
        if place not in theirs:
            continue
        one, other = ours[place].manifest, theirs[place].manifest
        stage = one["stage"]
        if one.get("version") != other.get("version") and stage not in told:
            told.add(stage)
            yield Difference(f"version of stage {stage}", str(one.get("version")), str(other.get("version")))
        alike = all(one.get(field) == other.get(field) for field in ("version", "config", "inputs", "plugins"))
        if alike and one["key"] != other["key"]:  # a key is made from contents, the settings beside it name paths
            part = next((part for part in place.split("/") if part in BEHIND), "")
            what = f"files that {place.partition('/')[2]} was made from"
            yield Difference(what, one["key"], other["key"], BEHIND.get(part, ""))


def _artifacts(folder: Path) -> dict[str, Artifact]:
    store = Store(folder / ARTIFACTS)
    if not store.root.is_dir() or (report := find_last(store, "report", folder, LAST["report"])) is None:
        return {}
    by_key = {artifact.path.name: artifact for artifact in store.artifacts()}
    return {place: by_key[key] for place, key in report.manifest["inputs"].items() if key in by_key}


def _versions(artifacts: Mapping[str, Artifact], what: str) -> dict[str, str]:
    versions: dict[str, dict[str, None]] = defaultdict(dict)
    for artifact in artifacts.values():
        for name, version in artifact.manifest.get(what, {}).items():
            versions[name][str(version)] = None
    return {name: ", ".join(sorted(own)) for name, own in versions.items()}
