"""A diagnosis: does a model know when its own answers are unsafe? The artifacts that it takes.

The stages are those of a study with a single, untrained arm; the last one writes the diagnosis in place of a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sinternal.errors import RecipeError
from sinternal.models.resolve import ModelSource
from sinternal.redaction import redacted
from sinternal.registry import Kind, load, names
from sinternal.settings.base import validated
from sinternal.settings.diagnosis import Diagnosis
from sinternal.settings.files import override, packaged_diagnoses, read_yaml
from sinternal.settings.plugins import PLAIN, AttackPlugin, EnginePlugin
from sinternal.stages import diagnosis, judge, prompts, sample, self_verify, target
from sinternal.study.checks import check_openable
from sinternal.study.prompts import sources_of
from sinternal.study.run import find_arm
from sinternal.study.targets import target_config
from sinternal.study.task import Plan, Task
from sinternal.validation import shown


def load_diagnosis(
    model: str, settings: str | None = None, engine: dict[str, Any] | None = None, overrides: Sequence[str] = ()
) -> Diagnosis:
    """Read the settings of a diagnosis.

    Args:
        model: an arm of a run (`RUN/ARM`), a model directory, a Hugging Face id, a registered source, or a name that
            the engine's server knows.
        settings: name of packaged settings, or path of a YAML file; by default what the model's plug-in names.
        engine: name and options of the engine, over those of the settings.
        overrides: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: there are no such settings, or a field is unknown or of the wrong type.
    """
    arm = find_arm(model)
    named = settings or _settings_of(arm.target if arm else model)
    content = read_yaml(named, packaged_diagnoses(), "diagnosis")
    for section in ("target", "engine"):
        if not isinstance(content.setdefault(section, {}), dict):
            raise RecipeError(f"{named}: field {section!r} is a mapping of fields, not {shown(content[section])}")
    content["target"]["model"] = model
    if arm and settings is None:
        content["verification"] = arm.verification.model_dump()
    if engine:
        same = content["engine"].get("name", EnginePlugin().name) == engine["name"]
        kept = (content["engine"].get("options") or {}) if same else {}
        content["engine"] = {"name": engine["name"], "options": {**kept, **engine["options"]}}
    override(content, overrides, "--set")
    return validated(Diagnosis, content, settings or "diagnosis")


def engine_of(name: str | None, base_url: str | None, options: Sequence[str]) -> dict[str, Any] | None:
    """An engine's name and options as a command line gives them; None if it gives nothing.

    Args:
        name: of the engine; with an address alone, `openai`.
        base_url: address of a server.
        options: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: an option is not written so.
    """
    if name is None and base_url is None and not options:
        return None
    given: dict[str, Any] = {} if base_url is None else {"base_url": base_url}
    override(given, options, "--option")
    return {"name": name or ("openai" if base_url else EnginePlugin().name), "options": given}


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
    known: dict[str, Any] = {"engine": settings.engine, "seed": settings.seed}
    answering = sample.SampleConfig(sampling=settings.sampling, system=settings.target.system, **known)
    verifying = self_verify.SelfVerifyConfig(
        sampling=settings.verification_sampling, verification=settings.verification, **known
    )
    model = Task(target.STAGE, "model", _target(settings))
    asked = Task(prompts.STAGE, "prompts", asking)
    responses = Task(sample.STAGE, "answers", answering, {"prompts": asked, "model": model})
    shown = {"prompts": asked, "responses": responses}
    labels = Task(judge.STAGE, f"labels by {settings.judge.name}", settings.judge, shown)
    verdicts = Task(self_verify.STAGE, "verifications", verifying, {**shown, "model": model})
    found = {**shown, "judgements": labels, "verifications": verdicts}
    last = Task(
        diagnosis.STAGE,
        "diagnosis",
        diagnosis.DiagnosisConfig(settings=Diagnosis.model_validate(redacted(settings.model_dump(mode="json")))),
        found,
    )
    return Plan((model, asked, responses, labels, verdicts, last))


def _target(settings: Diagnosis) -> target.TargetConfig:
    if arm := find_arm(settings.target.model):
        return target_config(settings.target.model_copy(update={"model": arm.path}), settings.seed, trained=False)
    if settings.engine.plugin_class.runs_one_model and settings.target.source is None:
        return target.TargetConfig(model=settings.target.model, served=True)
    return target_config(settings.target, settings.seed, trained=False)
