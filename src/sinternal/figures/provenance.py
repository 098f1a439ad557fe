"""Where a run's figures come from: which judge labelled what, how the text was sampled, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sinternal.figures import calls
from sinternal.figures.metric import METRICS, Role
from sinternal.layout import RunMap
from sinternal.records import Judgement, make_id
from sinternal.registry import Kind, load, names
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.recipe import Recipe
from sinternal.settings.sampling import Sampling
from sinternal.store import Artifact


@dataclass(frozen=True)
class Provenance:
    """Where a figure comes from. Every figure has one.

    Raises:
        ValueError: a field is empty.
    """

    judge: str
    """The judge whose labels are counted."""
    judge_revision: str
    """Which version of the judge: its model, or the version of the package that holds its rules."""
    judged: str
    """What was labelled: `answer`, `full` or `thinking`."""
    decoding: str
    """How the text was drawn."""
    measured: str
    """The day on which it was drawn, as year-month-day."""
    recipe: str
    """Key of the recipe: a hash of all its settings."""

    def __post_init__(self) -> None:
        """Refuse empty fields."""
        for field in fields(Provenance):
            if not getattr(self, field.name):
                raise ValueError(f"every figure needs its {field.name}")


class Sources:
    """The provenance of every figure of a run."""

    def __init__(
        self,
        variants: Mapping[str, Recipe],
        run: RunMap[Artifact],
        judge: str,
        compliance: str,
        thinking: str | None = None,
    ) -> None:
        """Take a run.

        Args:
            variants: the recipe of each variant.
            run: its artifacts.
            judge: who labels safety.
            compliance: who labels refusals and help.
            thinking: who labels what the thinking checks; by default who labels safety.
        """
        self.variants, self.run, self.judge, self.compliance = variants, run, judge, compliance
        self.thinking = thinking or judge
        self._cache: dict[tuple[str, str, str, bool], Provenance] = {}

    def of(self, variant: str, arm: str, metric: str, *, verifying: bool = False) -> Provenance:
        """Where a figure comes from.

        Args:
            variant: of the recipe.
            arm: whose figure it is.
            metric: its name.
            verifying: whether it is about verifications, not responses.
        """
        judges = dict.fromkeys(self._judge(role) for role in METRICS[metric].judges)
        return combine(*(self._by_judge(variant, arm, judge, verifying) for judge in judges))

    def decides(self, metric: str) -> str:
        """Which judge a figure rests on."""
        return self._judge(METRICS[metric].judges[0])

    def _judge(self, role: Role) -> str:
        return {Role.SAFETY: self.judge, Role.COMPLIANCE: self.compliance, Role.THINKING: self.thinking}[role]

    def _by_judge(self, variant: str, arm: str, judge: str, verifying: bool) -> Provenance:
        key = (variant, arm, judge, verifying)
        if key not in self._cache:
            self._cache[key] = self._look_up(*key)
        return self._cache[key]

    def _look_up(self, variant: str, arm: str, judge: str, verifying: bool) -> Provenance:
        recipe = self.variants[variant]
        entry = next(entry for entry in recipe.judges if entry.name == judge)
        runs = list(self.run.of_arm(variant, arm).values())
        texts = [run.verifications if verifying else run.responses for run in runs]
        labels = runs[0].judgements[judge]
        settings = recipe.evaluation
        sampling = settings.verification_sampling if verifying else settings.sampling
        return Provenance(
            judge=judge,
            judge_revision=judge_revision(entry, labels.manifest["packages"]["sinternal"], plugin_of(labels, judge)),
            judged=judged_part(labels),
            decoding=decoding(sampling, left_out_of(texts)),
            measured=day(last_start(texts)),
            recipe=recipe_key(recipe),
        )


def judged_part(labels: Artifact) -> str:
    """What of the responses some labels are of: `answer`, `full` or `thinking`."""
    return next((row.judged for row in labels.table(Judgement)), "answer")


def recipe_key(recipe: Recipe) -> str:
    """A hash of all settings that can change a figure."""
    return make_id(recipe.model_dump(mode="json", exclude={"workers"}))


def combine(first: Provenance, *others: Provenance) -> Provenance:
    """The provenance of a figure that several judges contribute to, on the same texts."""
    if not others:
        return first
    every = (first, *others)
    return Provenance(
        judge=" and ".join(source.judge for source in every),
        judge_revision=" and ".join(source.judge_revision for source in every),
        judged=" and ".join(dict.fromkeys(source.judged for source in every)),
        decoding=first.decoding,
        measured=max(source.measured for source in every),
        recipe=first.recipe,
    )


def judge_revision(entry: JudgePlugin, version: str, plugin: str | None = None) -> str:
    """The model behind a judge, the version of the package that holds its rules, and its options.

    Args:
        entry: the judge.
        version: that of this package, which holds the rules of the judges that are built in.
        plugin: package and version of one that is not.
    """
    options = dict(entry.options)
    engine = options.pop("engine", None)
    model = engine.get("model") if isinstance(engine, Mapping) else None
    code = plugin or (None if model else f"sinternal {version}")
    named = [str(part) for part in (model, code) if part]
    return ", ".join([*named, *(f"{name} {value}" for name, value in options.items())])


def plugin_of(labels: Artifact, judge: str) -> str | None:
    """Package and version of the plug-in that gave some labels; None if it is built in."""
    plugin: str | None = labels.manifest.get("plugins", {}).get(f"judge {judge}")
    return plugin


def decoding(sampling: Sampling, left_out: Iterable[str] = ()) -> str:
    """How text is drawn, in one phrase.

    Args:
        sampling: as the recipe says.
        left_out: settings that a server did not take.
    """
    how = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    more = [f"top_p {sampling.top_p:g}"] if sampling.top_p < 1 else []
    if sampling.repetition_penalty != 1:
        more.append(f"repetition penalty {sampling.repetition_penalty:g}")
    named = {"top_k": sampling.top_k, "min_p": sampling.min_p, "presence penalty": sampling.presence_penalty}
    more.extend(f"{name} {value:g}" for name, value in named.items() if value)
    phrase = ", ".join([how, f"{sampling.max_tokens} tokens", *more])
    return "; ".join(part for part in (phrase, calls.server_defaults(left_out)) if part)


def left_out_of(artifacts: Iterable[Artifact]) -> list[str]:
    """Settings of the sampling that the servers behind some artifacts did not take."""
    return list(sum((calls.read(artifact) for artifact in artifacts), calls.Calls()).left_out)


def day(started: float) -> str:
    """A time in seconds since 1970 as year-month-day, in UTC."""
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d")


def last_start(artifacts: Iterable[Artifact]) -> float:
    """When the last of some artifacts was begun, in seconds since 1970."""
    return max(float(artifact.manifest["started"]) for artifact in artifacts)


def note_on_fallback(judge: str) -> str:
    """A warning for a judge that only fills in where there is no real one."""
    is_fallback = judge in names(Kind.JUDGE) and load(Kind.JUDGE, judge).fallback
    return " (a fallback: it measures compliance, not harm)" if is_fallback else ""
