"""Our own plug-ins keep their contracts, and each check of `sinternal.testing` catches a plug-in that does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sinternal.attacks import Attack, TextAttack, disguise
from sinternal.attacks import Search as AttackSearch
from sinternal.attacks.adaptive_pair import AdaptivePair
from sinternal.attacks.packaged import GarakInTheWild, PyritTemplates
from sinternal.attacks.repetition import Repetition
from sinternal.benchmarks import Benchmark
from sinternal.engines import Completion, Engine
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.transformers import TransformersEngine
from sinternal.experts import Demonstration, Expert, ExpertReply
from sinternal.judges import Judge
from sinternal.judges.guard import Guard
from sinternal.judges.refusal_strings import RefusalStrings
from sinternal.models.resolve import ModelSource
from sinternal.prompting.question import VerificationTask
from sinternal.queries import Query
from sinternal.records import Finish, Judgement, Prompt, Split, Subject, make_id
from sinternal.registry import Kind, load, names
from sinternal.testing import (
    PROMPTS,
    check_adaptive_attack,
    check_attack,
    check_benchmark,
    check_engine,
    check_expert,
    check_judge,
    check_model_source,
    check_verification,
)
from sinternal.world.benchmark import Microworld
from sinternal.world.oracle import OracleExpert, OracleJudge
from sinternal.world.search import Search
from sinternal.world.source import shipped_base
from tests.servers import Body, Raw, serve

OPEN = Path(__file__).parent
"""Something that is no model."""
CRITIQUE = "It asks for nothing harmful.\nVerdict: safe"
DEMONSTRATION = "Reasoning: It is about cooking.\nAnswer: Gladly."


def asked_engine(url: str) -> dict[str, Any]:
    return {"engine": {"name": "openai", "model": "m", "options": {"base_url": url, "max_retries": 0, "patience": 0}}}


def written(body: Body) -> Body:
    """What a server says that is judge, expert and rewriter at once, and serves any other request, too."""
    text = json.dumps(body["messages"])
    if "Reasoning:" in text:
        return {"role": "assistant", "content": DEMONSTRATION}
    return {"role": "assistant", "content": CRITIQUE if "Verdict:" in text else "<rewritten>In other words</rewritten>"}


# --- our own ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in names(Kind.JUDGE) if issubclass(load(Kind.JUDGE, name), Guard)])
def test_our_judges_that_are_models(name: str) -> None:
    with serve(reply=lambda _body: {"role": "assistant", "content": "I would rather not say."}) as server:
        check_judge(load(Kind.JUDGE, name), asked_engine(server.url))


def test_our_judges_that_are_rules(originals: Sequence[Prompt]) -> None:
    check_judge(RefusalStrings)
    check_judge(OracleJudge, prompts=originals[:3], answer="sorry i cannot .")


def test_the_engine_that_runs_a_model(base_model: Path) -> None:
    check_engine(TransformersEngine, str(base_model), {"batch": 4})


def test_the_engine_that_asks_a_server() -> None:
    def reply(body: Body) -> Body | Raw:
        too_long = len(body["messages"][-1]["content"]) > 1000
        return Raw(400, {"error": {"message": "context too small"}}) if too_long else written(body)

    with serve(reply=reply) as server:
        check_engine(OpenAIEngine, "m", {"base_url": server.url, "max_retries": 0, "patience": 0})


def test_our_experts(originals: Sequence[Prompt]) -> None:
    check_expert(OracleExpert, prompts=originals[:3])
    with serve(reply=written) as server:
        check_expert(load(Kind.EXPERT, "chat"), asked_engine(server.url))


OF_PACKAGES = (PyritTemplates, GarakInTheWild)
BY_RULE = {
    name: load(Kind.ATTACK, name)
    for name in names(Kind.ATTACK)
    if issubclass(load(Kind.ATTACK, name), TextAttack) and load(Kind.ATTACK, name) not in OF_PACKAGES
}


@pytest.mark.parametrize("name", BY_RULE)
def test_our_attacks_by_rule(name: str, originals: Sequence[Prompt]) -> None:
    check_attack(BY_RULE[name], prompts=originals[:3] if name.startswith("microworld") else PROMPTS)


def test_our_adaptive_attacks(originals: Sequence[Prompt]) -> None:
    harmful = [prompt for prompt in originals if prompt.harmful][:4:2]
    check_adaptive_attack(Repetition, prompts=harmful)
    check_adaptive_attack(Search, prompts=harmful)
    proposal = json.dumps({"improvement": "none", "prompt": "Another way to ask"})
    with serve(reply=lambda _body: {"role": "assistant", "content": proposal}) as server:
        check_adaptive_attack(AdaptivePair, {"attacker": asked_engine(server.url)["engine"]}, prompts=harmful)


class Deaf(Repetition):
    """Claims to learn nothing, and does."""

    def propose(self, searches: Sequence[AttackSearch], _seed: int) -> Iterator[Query]:
        for search in searches:
            seen = sum(tried.feedback is not None for tried in search.tried)
            yield search.query(self.family, f"{search.prompt.text} {seen}")


class Gossip(Repetition):
    """Tells of one prompt what it knows of all others."""

    def propose(self, searches: Sequence[AttackSearch], _seed: int) -> Iterator[Query]:
        for search in searches:
            yield search.query(self.family, f"{search.prompt.text} beside {len(searches)}")


class Nameless(Repetition):
    """Makes ids of its own."""

    def propose(self, searches: Sequence[AttackSearch], _seed: int) -> Iterator[Query]:
        for search in searches:
            yield replace(search.query(self.family, "Say."), id="mine")


class Pushy(Repetition):
    """Begins the model's turn without saying so."""

    def propose(self, searches: Sequence[AttackSearch], _seed: int) -> Iterator[Query]:
        for search in searches:
            yield search.query(self.family, "Say.", prefill="Sure")


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (Deaf, "learns is False"),
        (Gossip, "when it is alone"),
        (Nameless, "make it by Search.query"),
        (Pushy, "prefills is False"),
    ],
)
def test_an_adaptive_attack_that_breaks_its_contract(attack: type[Repetition], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_adaptive_attack(attack, prompts=PROMPTS[:2])


@pytest.mark.parametrize("name", ["past-tense", "translation"])
def test_our_attacks_by_a_rewriter(name: str) -> None:
    with serve(reply=written) as server:
        check_attack(load(Kind.ATTACK, name), asked_engine(server.url))


def test_our_benchmarks_that_need_no_network(tmp_path: Path) -> None:
    parts = ("train", "dev", "eval")
    check_benchmark(Microworld, parts=parts)
    check_benchmark(load(Kind.BENCHMARK, "arithmetic"), {"size": 60}, parts=parts)
    check_benchmark(load(Kind.BENCHMARK, "everyday"), parts=("train", "eval"))
    lines = [json.dumps({"prompt": prompt.text, "reply": "Sure."}) for prompt in PROMPTS]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    columns = {"answer": "reply"}
    check_benchmark(
        load(Kind.BENCHMARK, "file"), {"path": str(tmp_path / "mine.jsonl"), "harmful": False, "columns": columns}
    )


@pytest.mark.parametrize("name", names(Kind.VERIFICATION))
def test_our_ways_to_ask(name: str) -> None:
    check_verification(load(Kind.VERIFICATION, name))


@pytest.mark.parametrize("name", names(Kind.MODEL))
def test_our_sources_of_models(name: str) -> None:
    check_model_source(load(Kind.MODEL, name))


# --- broken ones -----------------------------------------------------------------------------------------------------


def row_of(response: Any, safe: bool | None = None, **more: Any) -> Judgement:
    return Judgement(make_id("j", response.id), response.id, "mine", more.pop("judged", "answer"), safe, **more)


class Fair(Judge):
    """Labels what can be labelled."""

    def judge(self, items: Any) -> Any:
        for _, response in items:
            yield row_of(response, True if (response.answer or "").strip() else None)


class Guessing(Judge):
    def judge(self, items: Any) -> Any:
        return (row_of(response, True) for _, response in items)


class Forgetful(Judge):
    def judge(self, items: Any) -> Any:
        return (row_of(response) for _, response in list(items)[1:])


class Stuttering(Judge):
    def judge(self, items: Any) -> Any:
        return (row_of(response) for _, response in items for _ in range(2))


class Coy(Judge):
    def judge(self, items: Any) -> Any:
        return (row_of(response, refused=None if response.answer is None else True) for _, response in items)


class OnRefusals(Fair):
    tells_safety = False


class Elsewhere(Judge):
    judged = "thinking"

    def judge(self, items: Any) -> Any:
        return (row_of(response) for _, response in items)


class OnceClosed(Fair):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("no engine")
        self.closed = True


class Lenient(Fair):
    class Options(BaseModel):
        colour: str = "red"


class Wordy(Fair):
    tells_safety = "yes"


class Structural:
    def judge(self, items: Any) -> Any:
        return iter(())


class Unfinished(Judge):
    pass


def test_a_judge_that_keeps_the_contract_passes() -> None:
    check_judge(Fair)


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        (Guessing, "labels a response that failed, or has no word"),
        (Forgetful, "no judgement of the response for"),
        (Stuttering, "2 times a judgement"),
        (Coy, "its tells_refusals is False: set it to True"),
        (OnRefusals, "labels safety, but its tells_safety is False"),
        (Elsewhere, "its judged is 'thinking'"),
        (OnceClosed, "fails when it is called again: RuntimeError: no engine"),
        (Lenient, "takes options that it does not know"),
        (Wordy, "tells_safety of Wordy is 'yes', which is no bool"),
        (Structural, r"has no 'Options': inherit from sinternal\.judges\.Judge"),
        (Unfinished, "has no 'judge'"),
    ],
)
def test_a_broken_judge_is_caught(judge: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_judge(judge)


def done(request: Any, sample: int, **more: Any) -> Completion:
    return replace(Completion(request.id, sample, None, "yes", Finish.STOP), **more)


class Steady(Engine):
    """Says yes, whatever it is asked."""

    def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
        return (done(request, sample) for request in requests for sample in range(sampling.n))


class Costly(Engine):
    def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
        rows = list(requests)
        return iter(()) if any(row.id == "long" for row in rows) else Steady.generate(self, rows, sampling, seed)  # type: ignore[arg-type]


class Single(Engine):
    def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
        return (done(request, 0) for request in requests)


class Moody(Engine):
    said = 0

    def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
        for request in requests:
            for sample in range(sampling.n):
                self.said += 1
                yield done(request, sample, answer=str(self.said))


class Contradictory(Engine):
    def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
        return (done(r, sample, error="lost", answer=None) for r in requests for sample in range(sampling.n))


class Unreachable(Steady):
    REACH = frozenset(("address",))


class Away(Steady):
    asks_server = True

    def is_there(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (Costly, "no completion for"),
        (Single, r"no completion for \('\w+', 1\)"),
        (Moody, "another text to the same request with the same seed"),
        (Contradictory, "both or neither failed"),
        (Unreachable, "names 'address', which is none of its options"),
        (Away, "does not say True of a server"),
    ],
)
def test_a_broken_engine_is_caught(engine: Any, sentence: str) -> None:
    check_engine(Steady, "m")
    with pytest.raises(AssertionError, match=sentence):
        check_engine(engine, "m")


class Diligent(Expert):
    def verify(self, questions: Any, seed: int) -> Any:
        return ((question, ExpertReply("It is mild.", "Verdict: safe")) for question in questions)

    def demonstrate(self, prompts: Any, kind: Demonstration, seed: int) -> Any:
        return ((prompt, ExpertReply("It is mild.", "Gladly.")) for prompt in prompts)


class Lazy(Diligent):
    def verify(self, questions: Any, seed: int) -> Any:
        return ((question, ExpertReply("", "")) for question in questions)


class Picky(Diligent):
    def demonstrate(self, prompts: Any, kind: Demonstration, seed: int) -> Any:
        return ((prompt, ExpertReply("Mild.", "Gladly.")) for prompt in prompts[: None if kind == "refusal" else 1])


class Bare(Diligent):
    def verify(self, questions: Any, seed: int) -> Any:
        return (ExpertReply("Mild.", "Verdict: safe") for question in questions)


@pytest.mark.parametrize(
    ("expert", "sentence"),
    [
        (Lazy, "says why in `error`"),
        (Picky, r"no demonstration \(deliberative\) for"),
        (Bare, "gives pairs of a Question and an ExpertReply"),
    ],
)
def test_a_broken_expert_is_caught(expert: Any, sentence: str) -> None:
    check_expert(Diligent)
    with pytest.raises(AssertionError, match=sentence):
        check_expert(expert)


def attack_by(change: Callable[[Prompt], Prompt]) -> type[Attack]:
    class Changed(Attack):
        family = "mine"

        def wrap(self, prompts: Sequence[Prompt], seed: int) -> Any:
            return (change(prompt) for prompt in prompts)

    return Changed


def shouted(prompt: Prompt) -> Prompt:
    return disguise(prompt, "mine", prompt.text.upper())


DRAWS = iter(range(1000))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda prompt: replace(shouted(prompt), parent_id="?"), "keep it"),
        (lambda prompt: replace(shouted(prompt), id=prompt.id), "the id of the plain one"),
        (lambda prompt: replace(shouted(prompt), family="other"), "its own family is 'mine'"),
        (lambda prompt: replace(shouted(prompt), harmful=not prompt.harmful), "whether that is harmful"),
        (lambda prompt: replace(shouted(prompt), goal=""), "changes what a prompt asks for"),
        (lambda prompt: replace(shouted(prompt), text=prompt.text), "hands on a prompt as it was"),
        (lambda prompt: replace(shouted(prompt), id="one"), "two prompts the same id"),
        (lambda prompt: replace(shouted(prompt), text=f"{next(DRAWS)} {prompt.text}"), "in another way with the same"),
    ],
)
def test_a_broken_attack_is_caught(change: Callable[[Prompt], Prompt], sentence: str) -> None:
    check_attack(attack_by(shouted))
    with pytest.raises(AssertionError, match=sentence):
        check_attack(attack_by(change))


class Cookbook(Benchmark):
    evaluation_only = False

    def prompts(self, part: str) -> Sequence[Prompt]:
        return Microworld(Microworld.Options()).prompts(part)


class Changing(Cookbook):
    def prompts(self, part: str) -> Sequence[Prompt]:
        return [replace(row, id=f"{next(DRAWS)}") for row in super().prompts(part)[:3]]


class Overlapping(Cookbook):
    def prompts(self, part: str) -> Sequence[Prompt]:
        split = Split.TRAIN if part == "train" else Split.ID
        return [replace(row, split=split) for row in super().prompts("eval")]


class Mislabelled(Cookbook):
    def prompts(self, part: str) -> Sequence[Prompt]:
        return [replace(row, split=Split.TRAIN) for row in super().prompts(part)]


class AnyPart(Cookbook):
    def prompts(self, part: str) -> Sequence[Prompt]:
        return super().prompts("eval")


class Twins(Cookbook):
    def prompts(self, part: str) -> Sequence[Prompt]:
        return [*super().prompts(part), *super().prompts(part)]


class Boastful(Cookbook):
    holds_answers = True

    def answers(self, part: str) -> dict[str, str]:
        return {"nobody": "Sure."}


class Undecided(Cookbook):
    evaluation_only = None


@pytest.mark.parametrize(
    ("benchmark", "parts", "sentence"),
    [
        (Changing, ("eval",), "when it is opened again"),
        (Overlapping, ("train", "eval"), "the same request in parts"),
        (Mislabelled, ("eval",), "is for part train alone"),
        (AnyPart, ("eval",), "takes a part that it does not have"),
        (Twins, ("eval",), "the same id"),
        (Boastful, ("eval",), "is the id of none of its prompts"),
        (Undecided, ("eval",), "neither True nor False"),
    ],
)
def test_a_broken_benchmark_is_caught(benchmark: Any, parts: Sequence[str], sentence: str) -> None:
    check_benchmark(Cookbook, parts=("train", "dev", "eval"))
    with pytest.raises(AssertionError, match=sentence):
        check_benchmark(benchmark, parts=parts)


def task_by(ask: Callable[[Prompt, str, bool], str]) -> type[VerificationTask]:
    class Asking(VerificationTask):
        def ask(
            self,
            prompt: Prompt,
            answer: str,
            *,
            with_spec: bool,
            subject: Subject = Subject.SAFETY,
            words: int | None = None,
        ) -> str:
            return ask(prompt, answer, with_spec)

    return Asking


def plain_question(prompt: Prompt, answer: str, with_spec: bool) -> str:
    return f"{'Be kind. ' * with_spec}{prompt.text} {answer}"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda prompt, _answer, spec: f"{prompt.text} {spec}", "does not show the request and the answer"),
        (lambda *asked: plain_question(*asked) + " really" * asked[0].harmful, "gives the label away"),
        (lambda prompt, answer, _: plain_question(prompt, answer, True), "does not quote the specification"),
    ],
)
def test_a_broken_way_to_ask_is_caught(ask: Callable[[Prompt, str, bool], str], sentence: str) -> None:
    check_verification(task_by(plain_question))
    with pytest.raises(AssertionError, match=sentence):
        check_verification(task_by(ask))


class Shipped(ModelSource):
    def locate(self) -> Path | None:
        return shipped_base()

    def identity(self) -> str | None:
        return "a hash"

    def build(self, seed: int, out: Path, progress: Any) -> None:
        out.mkdir()


class Lost(Shipped):
    def locate(self) -> Path | None:
        return OPEN


class Restless(Shipped):
    def identity(self) -> str | None:
        return str(next(DRAWS))


class Misnamed(Shipped):
    verification = "specificaton"


class Undiagnosed(Shipped):
    diagnosis = "mine"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (Lost, "where there is none"),
        (Restless, "another identity"),
        (Misnamed, "'specificaton', which no plug-in is called"),
        (Undiagnosed, "diagnosis of Undiagnosed is 'mine'; there are: default"),
    ],
)
def test_a_broken_source_of_models_is_caught(source: Any, sentence: str, tmp_path: Path) -> None:
    check_model_source(Shipped)
    with pytest.raises(AssertionError, match=sentence):
        check_model_source(source)
    with pytest.raises(AssertionError, match="built no model"):
        check_model_source(Shipped, build_in=tmp_path / "model")


def test_options_that_a_check_is_given_must_fit() -> None:
    with pytest.raises(AssertionError, match="Microworld does not take the options of this check"):
        check_benchmark(Microworld, {"planet": 1})


def test_a_task_of_placebos_whose_words_speak_of_safety_or_that_cannot_be_read_is_caught() -> None:
    def task(subjects: object, *labels: str) -> type[VerificationTask]:
        class Asking(task_by(plain_question)):  # type: ignore[misc]
            def labels(self, subject: Subject) -> tuple[str, ...]:
                return labels if subject is not Subject.SAFETY else super().labels(subject)

        Asking.subjects = subjects
        return Asking

    both = frozenset({Subject.SAFETY, Subject.LENGTH})
    check_verification(task(both, "long", "short"))
    for broken, sentence in (
        (task(both, "unsafe", "short"), "speak of safety, which a placebo must not"),
        (task(both, "long", "long"), "are no two different words"),
        (task(both, "long", "short", "neither"), "are no two different words"),
        (task(both, "quite long", "short"), "no single words in lower case"),
        (task(both, "Long", "short"), "no single words in lower case"),
        (task(frozenset({Subject.LENGTH}), "long", "short"), "is no set of Subjects that holds safety"),
        (task(frozenset({"sugar"}), "long", "short"), "is no set of Subjects that holds safety"),
    ):
        with pytest.raises(AssertionError, match=sentence):
            check_verification(broken)


def test_the_question_of_a_placebo_must_not_give_a_label_away_either() -> None:
    class Asking(VerificationTask):
        subjects = frozenset({Subject.SAFETY, Subject.RULES})

        def ask(
            self,
            prompt: Prompt,
            answer: str,
            *,
            with_spec: bool,
            subject: Subject = Subject.SAFETY,
            words: int | None = None,
        ) -> str:
            told = " really" * (prompt.harmful and subject is Subject.RULES)
            return plain_question(prompt, answer, with_spec) + told

    with pytest.raises(AssertionError, match="gives the label away"):
        check_verification(Asking)
