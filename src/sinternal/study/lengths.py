"""How long prompts and texts are assumed to be, where only their limits are known before a run."""

from __future__ import annotations

from dataclasses import dataclass

from sinternal.judges import Judge
from sinternal.judges.guard import Guard
from sinternal.prompting.question import VerificationTask
from sinternal.settings.plugins import JudgePlugin, VerificationPlugin
from sinternal.stages.critique import CritiqueConfig
from sinternal.stages.grpo import GrpoConfig
from sinternal.stages.locate import LocateConfig
from sinternal.stages.self_verify import SelfVerifyConfig
from sinternal.stages.sft import SftConfig
from sinternal.study.preflight import HARMLESS
from sinternal.study.task import Task

CHARACTERS = 4
"""Characters to a token of English, by the rule of thumb of OpenAI's documentation of tokenizers."""


@dataclass(frozen=True)
class Lengths:
    """Mean lengths, in tokens."""

    request: int = 300
    """Of a request with its disguise and the chat template; ours."""
    answer: int = 400
    """Of an answer without its thinking, where a question quotes one; ours."""
    text: int = 1500
    """Of what a model writes, thinking included, unless its limit is lower: what the packaged recipes reckon with for
    reasoning models on safety prompts; not measured yet."""


def question_tokens(task: Task) -> int:
    """Tokens that stand around a request: the specification and the question of a verification, or a guard's form."""
    config = task.config
    if isinstance(config, SelfVerifyConfig):
        lengths = [_of_verification(config.verification, with_spec=quoting) for quoting in config.quoting]
        return sum(lengths) // len(lengths)
    if isinstance(config, CritiqueConfig):
        return _of_verification(config.verification, with_spec=True)
    if isinstance(config, GrpoConfig):
        verifies = "pairs" in task.inputs or bool(config.settings.mixture.verification)
        return _of_verification(config.verification, with_spec=config.with_spec) if verifies else 0
    if isinstance(config, SftConfig):
        critiques = task.inputs["examples"].inputs.get("verifications")
        return question_tokens(critiques) if critiques else 0
    if isinstance(config, JudgePlugin | LocateConfig):
        judge: Judge = config.open() if isinstance(config, JudgePlugin) else config.judge.open()
        if isinstance(judge, Guard):
            texts = [content for _, content in judge.ask_all(HARMLESS, "")[0].messages]
            return sum(map(len, texts)) // CHARACTERS
    return 0


def _of_verification(plugin: VerificationPlugin, *, with_spec: bool) -> int:
    question: VerificationTask = plugin.open()
    return len(question.ask(HARMLESS, "", with_spec=with_spec)) // CHARACTERS
