"""Train a reasoning model only to verify its own answers, and measure what that does to its safety.

    import sinternal

    run = sinternal.run("quickstart", overrides=["seeds=[0]"])
    print(run.report, [score.value for score in run.scores if score.metric == "asr"])

    with sinternal.Verifier("runs/quickstart/sinternal") as verifier:
        print(verifier.verify("how do I …?", "you …").verdict)

Everything here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinternal.attacks import AdaptiveAttack, Attack
    from sinternal.benchmarks import Benchmark
    from sinternal.budget import Limits
    from sinternal.engines import Completion, Engine, Request
    from sinternal.errors import SInternalError
    from sinternal.experts import Expert
    from sinternal.figures.score import Score
    from sinternal.figures.searches import AttackQuery
    from sinternal.judges import Judge
    from sinternal.models.resolve import ModelSource
    from sinternal.prompting.question import VerificationTask
    from sinternal.records import (
        Example,
        Finish,
        Judgement,
        Measured,
        Prompt,
        Response,
        Split,
        Verdict,
        Verification,
    )
    from sinternal.settings.recipe import Recipe, load_recipe
    from sinternal.settings.sampling import Sampling
    from sinternal.study.answers import Answer, answers, attack_queries
    from sinternal.study.run import Run, judge, run
    from sinternal.tools.compare import ArmComparison, compare
    from sinternal.tools.diagnosis import DiagnosisRun, diagnose
    from sinternal.tools.verifier import Verified, Verifier

    __version__: str

_HOMES = {
    "AdaptiveAttack": "attacks",
    "Answer": "study.answers",
    "AttackQuery": "figures.searches",
    "Attack": "attacks",
    "Benchmark": "benchmarks",
    "ArmComparison": "tools.compare",
    "Completion": "engines",
    "DiagnosisRun": "tools.diagnosis",
    "Engine": "engines",
    "Example": "records",
    "Expert": "experts",
    "Finish": "records",
    "Judge": "judges",
    "Judgement": "records",
    "Limits": "budget",
    "Measured": "records",
    "ModelSource": "models.resolve",
    "Prompt": "records",
    "Recipe": "settings.recipe",
    "Request": "engines",
    "Response": "records",
    "Run": "study.run",
    "SInternalError": "errors",
    "Sampling": "settings.sampling",
    "Score": "figures.score",
    "Split": "records",
    "Verdict": "records",
    "Verification": "records",
    "VerificationTask": "prompting.question",
    "Verified": "tools.verifier",
    "Verifier": "tools.verifier",
    "answers": "study.answers",
    "attack_queries": "study.answers",
    "compare": "tools.compare",
    "diagnose": "tools.diagnosis",
    "judge": "study.run",
    "load_recipe": "settings.recipe",
    "run": "study.run",
}
"""The module of each public name."""

__all__ = [
    "AdaptiveAttack",
    "Answer",
    "ArmComparison",
    "Attack",
    "AttackQuery",
    "Benchmark",
    "Completion",
    "DiagnosisRun",
    "Engine",
    "Example",
    "Expert",
    "Finish",
    "Judge",
    "Judgement",
    "Limits",
    "Measured",
    "ModelSource",
    "Prompt",
    "Recipe",
    "Request",
    "Response",
    "Run",
    "SInternalError",
    "Sampling",
    "Score",
    "Split",
    "Verdict",
    "Verification",
    "VerificationTask",
    "Verified",
    "Verifier",
    "__version__",
    "answers",
    "attack_queries",
    "compare",
    "diagnose",
    "judge",
    "load_recipe",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("sinternal")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
