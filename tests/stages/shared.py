"""What tests of several stages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sinternal.records import Example
from sinternal.settings.plugins import EnginePlugin, ExpertPlugin, JudgePlugin, VerificationPlugin
from sinternal.stages import (
    critique,
    examples,
    prompts,
    target,
)
from sinternal.store import Artifact, Draft

Make = Callable[[str, Callable[[Draft], None]], Artifact]


ENGINE = EnginePlugin(options={"batch": 64})


ORACLE = JudgePlugin(name="oracle")


EXPERT = ExpertPlugin(name="oracle")


TASK = VerificationPlugin(name="microworld")


def prompts_config(**changes: object) -> prompts.PromptsConfig:
    source = {"benchmark": "microworld", "part": "train", "attacks": ["plain"]}
    source |= {name: changes.pop(name) for name in ("part", "attacks", "limit") if name in changes}
    source["attacks"] = attacks(source["attacks"])
    settings = {"sources": [source], "for_training": True, "seed": 0, **changes}
    settings["tuned_on"] = attacks(settings.get("tuned_on", ["plain"]))
    return prompts.PromptsConfig.model_validate(settings)


def attacks(families: object) -> list[dict[str, str]]:
    assert isinstance(families, list)
    return [{"name": name if name == "plain" else f"microworld-{name}"} for name in families]


def tables(make: Make, name: str, **rows: Sequence[object]) -> Artifact:
    """An artifact with the given tables."""

    def build(draft: Draft) -> None:
        for table, members in rows.items():
            draft.write(list(members), type(members[0]), table)  # type: ignore[type-var]

    return make(name, build)


def own_base(make: Make) -> Artifact:
    return make("base", lambda draft: target.target(draft, target.TargetConfig(model="microworld")))


CRITIQUE = critique.CritiqueConfig(expert=EXPERT, verification=TASK, seed=0)


def verified(make: Make, pairs: tuple[Artifact, Artifact], size: int = 16) -> list[Example]:
    asked, kept = pairs
    written = make("critique", lambda draft: critique.critique(draft, CRITIQUE, prompts=asked, pairs=kept))
    config = examples.ExamplesConfig(size=size, seed=0)
    artifact = make(
        "examples",
        lambda draft: examples.examples(
            draft, config, model=own_base(make), prompts=asked, responses=kept, verifications=written
        ),
    )
    return artifact.rows(Example)
