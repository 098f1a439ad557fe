"""Plug-ins as fields of settings: found and validated while a recipe is parsed, and loaded only with their contract."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from sinternal.errors import RecipeError, RegistryError
from sinternal.registry import Kind, load, names
from sinternal.settings.plugins import AttackPlugin, EnginePlugin, EngineWithModel, JudgePlugin
from sinternal.settings.recipe import load_recipe
from sinternal.settings.sources import Source, Target
from tests.plugins import Register, forget, install, mistake_in

HEAVY = ("scipy", "numpy", "torch", "transformers", "datasketch", "pandas", "datasets")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("judges=[{name: orcale}]", r"'judges\.0\.name': no judge is called 'orcale'; did you mean 'oracle'\?$"),
        ("expert.name=oracel", r"'expert\.name': no expert is called 'oracel'; did you mean 'oracle'"),
        ("expert.options={decison: true}", r"'expert\.options\.decison': expert 'oracle' has no .* mean 'decision'"),
        ("verification.options.swaped=true", r"'verification\.options\.swaped': verification 'microworld' .*'swapped'"),
        ("engine.name=transformer", r"'engine\.name': no engine is called 'transformer'; did you mean 'transformers'"),
        ("engine.options={batch: 0}", r"'engine\.options\.batch': .*greater than or equal to 1, not 0"),
        ("prompts.eval=[{benchmark: everyda}]", r"'prompts\.eval\.0\.benchmark': no benchmark .* mean 'everyday'"),
        ("prompts.eval_attacks=[many-shots]", r"'prompts\.eval_attacks\.0\.name': no attack .* mean 'many-shot'"),
        (
            "prompts.eval_attacks=[{name: many-shot, options: {shot: 1}}]",
            r"'prompts\.eval_attacks\.0\.options\.shot': attack 'many-shot' has no such option; did you mean 'shots'",
        ),
        ("prompts.eval_attacks=[{name: plain, options: {a: 1}}]", r"'prompts\.eval_attacks\.0\.options': plain leaves"),
        ("target.options={layer: 2}", r"'target\.options\.layer': model 'microworld' has no .* mean 'layers'"),
        (
            "judges=[{name: wildguard, options: {engine: {name: openai, model: m, options: {base_ur: x}}}}]",
            r"'judges\.0\.options\.engine\.options\.base_ur': engine 'openai' has no such option.*'base_url'",
        ),
        (
            "judges=[{name: wildguard, options: {engine: {name: opena, modl: m}}}]",
            r"judge 'wildguard' has no such option; did you mean 'engine\.model'\? \(also: .*'openai'.*needs it",
        ),
        (
            "judges=[{name: refusal, options: {engine: {name: openai, model: m}}}]",
            r"judges\.0: 'refusal' does not label safety, so it cannot be the first, which decides",
        ),
    ],
)
def test_a_mistake_is_told_at_its_field_while_the_recipe_is_parsed(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        load_recipe("quickstart", [override])
    assert "\n" not in str(told.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as told:
        load_recipe("quickstart", ["judges=[{name: orcale}]", "expert.name=oracel", "sft.stepz=1"])
    assert all(name in str(told.value) for name in ("orcale", "oracel", "sft.stepz"))


def test_options_stay_as_they_were_given_and_the_plug_in_gets_them_validated() -> None:
    given = {"engine": {"name": "openai", "model": "m", "options": {"base_url": "http://x/v1"}}}
    plugin = JudgePlugin(name="wildguard", options=given)
    assert plugin.model_dump(mode="json") == {"name": "wildguard", "options": given}
    assert plugin.model == "m"
    judge = plugin.open()
    assert isinstance(judge.options.engine, EngineWithModel)
    assert judge.options.judge_on == "answer"
    assert pickle.loads(pickle.dumps(plugin)) == plugin


def test_a_number_in_options_is_finite_wherever_they_are_validated() -> None:
    with pytest.raises(ValidationError, match="it must be a finite number"):
        EnginePlugin(name="openai", options={"timeout": float("inf")})
    assert "finite number" in mistake_in(Kind.ENGINE, "openai", {"price": {"read": float("nan")}})


def test_sources_and_targets_lead_to_their_plug_ins() -> None:
    assert Source(benchmark="everyday").plugin.plugin_class.size == 120
    assert Target(model="some/model", options={"kept": "unread"}).source is None
    source = Target(model="microworld").source
    assert source is not None
    assert source.open().locate() is not None
    assert AttackPlugin(name="plain").family == "plain"


def test_a_judge_that_says_nothing_of_refusals_does_not_label_them(register: Register) -> None:
    from sinternal.judges import Judge

    class Quiet(Judge):
        def judge(self, items):  # type: ignore[no-untyped-def]
            return iter(())

    register(Kind.JUDGE, "quiet", Quiet)
    with pytest.raises(RecipeError, match="'quiet' does not label refusals"):
        load_recipe("quickstart", ["judges=[{name: quiet}]"])
    load_recipe("quickstart", ["judges=[{name: quiet}]", "rewards.refusals={name: refusal-strings}"])


STRUCTURAL = """
class Mine:
    judged, tells_safety, tells_refusals = "answer", True, True

    def __init__(self, options):
        pass

    def judge(self, items):
        return iter(())

    def close(self):
        pass
"""


@pytest.mark.parametrize(
    ("code", "lacking", "mend"),
    [
        (STRUCTURAL, "Options", "which has a default"),
        (STRUCTURAL + "\n    from sinternal.registry import NoOptions as Options\n", "fallback", "which has a default"),
        ("from sinternal.judges import Judge\n\n\nclass Mine(Judge):\n    pass\n", "judge", "and define it"),
    ],
)
def test_a_plug_in_that_lacks_something_is_told_with_its_package_and_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, lacking: str, mend: str
) -> None:
    install(monkeypatch, tmp_path, code=code)
    with pytest.raises(RegistryError) as told:
        load_recipe("quickstart", ["judges=[{name: mine}]"])
    assert str(told.value) == (
        f"judge 'mine' of package 'my-ext' has no {lacking!r}: let my_ext:Mine inherit from sinternal.judges.Judge, "
        f"{mend}"
    )
    monkeypatch.undo()
    forget(monkeypatch)


@pytest.mark.parametrize("kind", Kind)
def test_every_plug_in_of_ours_has_what_its_contract_asks_for(kind: Kind) -> None:
    assert all(load(kind, name).Options.model_config["extra"] == "forbid" for name in names(kind))


def test_reading_settings_and_all_plug_ins_loads_nothing_heavy() -> None:
    code = f"""
import sys
import sinternal.settings.recipe
from sinternal.registry import Kind, load, names
for kind in Kind:
    for name in names(kind):
        load(kind, name)
from sinternal.settings.files import packaged_recipes
for name in packaged_recipes():
    sinternal.settings.recipe.load_recipe(name)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
