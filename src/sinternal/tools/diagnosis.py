"""A diagnosis: does a model know when its own answers are unsafe? The artifacts that it takes.

The stages are those of a study with a single, untrained arm; the last one writes the diagnosis in place of a report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sinternal.budget import Limits
from sinternal.errors import RecipeError
from sinternal.figures.without_texts import diagnosis_without_texts, hider_of, settings_without_texts
from sinternal.models.resolve import ModelSource
from sinternal.redaction import redacted
from sinternal.registry import Kind, load, names
from sinternal.report.diagnosis_page import render, render_markdown, to_json
from sinternal.report.page import Page
from sinternal.settings.base import validate_settings
from sinternal.settings.diagnosis import Diagnosis
from sinternal.settings.files import DIAGNOSIS, override, packaged_diagnoses, read_yaml
from sinternal.settings.plugins import PLAIN, AttackPlugin, EnginePlugin
from sinternal.stages import diagnosis, judge, prompts, sample, self_verify, target
from sinternal.store import Store
from sinternal.store.sums import checked
from sinternal.study.batches import batch_notes
from sinternal.study.checks import check_openable
from sinternal.study.named_arm import find_arm
from sinternal.study.prompts import sources_of
from sinternal.study.run import ARTIFACTS, RUNS, Listener, make
from sinternal.study.sharing import inputs_of, page_artifact, write_shared
from sinternal.study.targets import target_config
from sinternal.study.task import Plan, Task
from sinternal.tools.engine import engine_of, naming_servers
from sinternal.validation import preview

PAGE, RESULTS, TEXT = "diagnosis.html", "diagnosis.json", "diagnosis.md"
"""What a finished diagnosis leaves in its folder."""
LONGEST_NAME = 60
"""Characters of a model's name in a folder's: file systems take 255 bytes in all."""


@dataclass(frozen=True)
class DiagnosisRun:
    """A finished diagnosis."""

    folder: Path
    """Where its files lie."""
    settings: Diagnosis
    """What was measured, and how."""

    @property
    def page(self) -> Path:
        """The page with every figure and transcript."""
        return self.folder / PAGE

    @property
    def text(self) -> str:
        """The figures in words and tables, as Markdown."""
        return checked(self.folder / TEXT).read_text()

    @cached_property
    def results(self) -> dict[str, Any]:
        """`diagnosis.json`, the contract for machines."""
        results: dict[str, Any] = json.loads(checked(self.folder / RESULTS).read_text())
        return results


def diagnose(
    model: str,
    *,
    settings: str | None = None,
    engine: str | None = None,
    base_url: str | None = None,
    engine_options: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    store: Path | str | None = None,
    limits: Limits | None = None,
    retry_failed: bool | None = None,
    again: Collection[str] = (),
    listen: Listener | None = None,
) -> DiagnosisRun:
    """Measure whether a model knows when its own answers are unsafe.

    Args:
        model: an arm of a run (`RUN/ARM`), a model directory, a Hugging Face id, a registered source, or a name that
            the engine's server knows.
        settings: name of packaged settings, or path of a YAML file; by default what the model's plug-in names.
        engine: name of a registered engine; by default that of the settings, or `openai` with an address.
        base_url: address of an OpenAI-compatible server.
        engine_options: other options of the engine, over those of the settings.
        overrides: of the settings, `a.b=c` each, with `c` in YAML.
        out: folder of the diagnosis; by default `runs/diagnosis-<model>`.
        store: see `sinternal.run`, as for all that follows.
        limits: on what is spent.
        retry_failed: whether failed rows are asked for again.
        again: stages whose artifacts are made again.
        listen: told of every artifact, and of progress within.

    Raises:
        BudgetError: the limits are reached.
        RecipeError: the settings are not valid.
        SInternalError: a stage could not do its work. What was finished stays.
    """
    loaded = load_diagnosis(model, settings, engine_of(engine, base_url, engine_options), overrides)
    folder = folder_of(model, out)
    with naming_servers(loaded.engine):
        make(
            plan_diagnosis(loaded),
            folder,
            (PAGE, RESULTS, TEXT),
            store=store,
            limits=limits,
            retry_failed=retry_failed,
            again=again,
            listen=listen,
            typed=[*overrides, base_url or "", json.dumps(engine_options, default=str)],
        )
    return DiagnosisRun(folder, loaded)


def folder_of(model: str, out: Path | str | None = None) -> Path:
    """Where the diagnosis of a model lies, if nothing else is said."""
    return RUNS / f"diagnosis-{slug(model)}" if out is None else Path(out)


def share_diagnosis(folder: Path | str, store: Path | str | None = None, to: Path | str | None = None) -> Path:
    """Write a finished diagnosis without texts: lengths, keyed hashes and labels stay; arguments are those of `share`.

    Returns:
        The page.

    Raises:
        SInternalError: there is no finished diagnosis, or artifacts of it are not there.
    """
    folder = Path(folder)
    artifacts = Store(folder / ARTIFACTS if store is None else Path(store))
    made = page_artifact(artifacts, "diagnosis", folder, (RESULTS, TEXT))
    inputs = inputs_of(artifacts, made, folder)
    settings = diagnosis.DiagnosisConfig.model_validate(made.manifest["config"]).settings
    hider = hider_of(folder)
    shared = diagnosis_without_texts(diagnosis.diagnosis_of(settings, **inputs), hider)
    figures = to_json(shared)
    figures["settings"] = settings_without_texts(figures["settings"], hider)
    pages: dict[str, Callable[[], str | Page]] = {
        PAGE: lambda: render(shared),
        RESULTS: lambda: json.dumps(figures, indent=1, allow_nan=False) + "\n",
        TEXT: lambda: render_markdown(shared),
    }
    return write_shared(folder if to is None else Path(to), to is None, pages)


def slug(model: str) -> str:
    """A model's name as part of a folder's, whatever it is."""
    return "".join(c if c.isprintable() and c not in "/\\" else "-" for c in model.strip("./"))[:LONGEST_NAME]


def load_diagnosis(
    model: str, settings: str | None = None, engine: EnginePlugin | None = None, overrides: Sequence[str] = ()
) -> Diagnosis:
    """Read the settings of a diagnosis.

    Args:
        model: an arm of a run (`RUN/ARM`), a model directory, a Hugging Face id, a registered source, or a name that
            the engine's server knows.
        settings: name of packaged settings, or path of a YAML file; by default what the model's plug-in names.
        engine: the engine, its options over those of the settings.
        overrides: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: there are no such settings, or a field is unknown or of the wrong type.
    """
    arm = find_arm(model)
    named = settings or _settings_of(arm.target if arm else model)
    content = read_yaml(named, packaged_diagnoses(), DIAGNOSIS)
    for section in ("target", "engine"):
        if not isinstance(content.setdefault(section, {}), dict):
            raise RecipeError(f"{named}: field {section!r} is a mapping of fields, not {preview(content[section])}")
    content["target"]["model"] = model
    if arm and settings is None:
        content["verification"] = arm.verification.model_dump()
    if engine:
        same = content["engine"].get("name", EnginePlugin().name) == engine.name
        kept = (content["engine"].get("options") or {}) if same else {}
        content["engine"] = {"name": engine.name, "options": {**kept, **engine.options}}
    override(content, overrides, "--set")
    return validate_settings(Diagnosis, content, settings or "diagnosis")


def _settings_of(model: str) -> str:
    """The settings that a registered source of models names for its own."""
    return str(load(Kind.MODEL, model).diagnosis) if model in names(Kind.MODEL) else ModelSource.diagnosis


def plan_diagnosis(settings: Diagnosis) -> Plan:
    """Lay out every artifact of a diagnosis. Reads no artifact and runs nothing.

    Raises:
        DataError: a file that the settings name is not there.
    """
    check_openable(settings.judge, settings.verification, *(source.plugin for source in settings.prompts.sources))
    asking = prompts.PromptsConfig(
        sources=sources_of(settings.prompts.sources, "eval", settings.prompts.attacks),
        tuned_on=(AttackPlugin(name=PLAIN),),
        limit=settings.prompts.limit,
        for_training=False,
        seed=settings.seed,
    )
    common: dict[str, Any] = {"engine": settings.engine, "seed": settings.seed}
    answering = sample.SampleConfig(sampling=settings.sampling, system=settings.target.system, **common)
    verifying = self_verify.SelfVerifyConfig(
        sampling=settings.verification_sampling, verification=settings.verification, **common
    )
    model = Task(target.STAGE, "model", _target(settings))
    prompt_set = Task(prompts.STAGE, "prompts", asking)
    responses = Task(sample.STAGE, "answers", answering, {"prompts": prompt_set, "model": model})
    to_label = {"prompts": prompt_set, "responses": responses}
    labels = Task(judge.STAGE, f"labels by {settings.judge.name}", settings.judge, to_label)
    verdicts = Task(self_verify.STAGE, "verifications", verifying, {**to_label, "model": model})
    measured = {**to_label, "judgements": labels, "verifications": verdicts}
    last = Task(
        diagnosis.STAGE,
        "diagnosis",
        diagnosis.DiagnosisConfig(settings=Diagnosis.model_validate(redacted(settings.model_dump(mode="json")))),
        measured,
    )
    tasks = (model, prompt_set, responses, labels, verdicts, last)
    return Plan(tasks, tuple(batch_notes(tasks)))


def _target(settings: Diagnosis) -> target.TargetConfig:
    if arm := find_arm(settings.target.model):
        return target_config(settings.target.model_copy(update={"model": arm.path}), settings.seed, trained=False)
    if settings.engine.plugin_class.runs_one_model and settings.target.source is None:
        return target.TargetConfig(model=settings.target.model, served=True)
    return target_config(settings.target, settings.seed, trained=False)
