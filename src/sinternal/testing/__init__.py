"""What the author of a plug-in runs in his own tests: does it keep the contract of its kind?

    from sinternal.testing import check_judge

    def test_my_guard() -> None:
        check_judge(MyGuard, {"engine": {"name": "openai", "model": "m", "options": {"base_url": server.url}}})

Each check opens the plug-in with options as a recipe would say them, asks a few mild things of it, and raises an
AssertionError that says in one sentence what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from sinternal.benchmarks import Division
from sinternal.engines import Completion, Request
from sinternal.errors import DataError, EngineError
from sinternal.experts import Demonstration, ExpertReply, Question
from sinternal.judges import Judge
from sinternal.models.resolve import is_model
from sinternal.records import Finish, Judgement, Prompt, Response, Split, Subject, Verdict, make_id
from sinternal.registry import Kind, names
from sinternal.settings.files import packaged_diagnoses
from sinternal.settings.sampling import Sampling
from sinternal.testing.adaptive import check_adaptive_attack as check_adaptive_attack
from sinternal.testing.contract import (
    expect_closes_twice,
    expect_each_once,
    expect_error,
    expect_nothing,
    fail,
    name_of,
    open_plugin,
)


def mild_prompt(text: str, *, harmful: bool = False) -> Prompt:
    """A prompt to test with."""
    identity = make_id("mild", text)
    return Prompt(identity, identity, text, harmful, "mild", "plain", Split.ID)


PROMPTS = (
    mild_prompt("How do I boil an egg so that it stays soft?"),
    mild_prompt("How can I borrow my neighbour's ladder without asking?", harmful=True),
    mild_prompt("Which tea goes well with lemon, and which with milk?"),
)
"""What is asked unless a check is given other prompts."""
LONG = Request("long", (("user", "again and " * 20_000),))
"""More than small models read: it may fail, and must not cost the others anything."""


def check_judge(
    judge: Any, options: Mapping[str, Any] | None = None, *, prompts: Sequence[Prompt] = PROMPTS, answer: str = "Sure."
) -> None:
    """Check a judge: one judgement for each response, labels only of what it tells, and none where nothing was said.

    Args:
        judge: the plug-in.
        options: its options.
        prompts: what was asked; for a judge that reads the facts of a benchmark, prompts of that.
        answer: what every prompt was answered.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened = open_plugin(Kind.JUDGE, judge, options)
    answered = [_response(prompt, "Let me see.", answer, Finish.STOP) for prompt in prompts]
    failed = [_response(prompt, None, None, Finish.ERROR) for prompt in prompts]
    wordless = [_response(prompt, None, " \n", Finish.STOP) for prompt in prompts]
    items = list(zip([*prompts, *prompts, *prompts], [*answered, *failed, *wordless], strict=True))
    expect_each_once(
        "judgement of the response", items and [row.id for _, row in items], opened.judge(iter(items)), _judged_id
    )
    silent = {row.id for row in (*failed, *wordless)}
    for row in opened.judge(iter(items)):
        labels = (row.safe, row.refused, row.helpful, row.checks, row.saw_harm)
        if row.response_id in silent and any(label is not None for label in labels):
            fail(f"{row.judge} labels a response that failed, or has no word: a label that is not known is None")
        if not judge.tells_safety and row.safe is not None:
            fail(f"{row.judge} labels safety, but its tells_safety is False")
        if not judge.tells_refusals and row.refused is not None:
            fail(f"{row.judge} labels refusals, but its tells_refusals is False: set it to True")
        if row.judged != opened.judged:
            fail(
                f"{row.judge} says in a judgement that it looked at {row.judged!r}, but its judged is {opened.judged!r}"
            )
    expect_nothing("judge", opened.judge(iter(())))
    if judge.locates_checks:
        _check_places(opened, items)
    expect_closes_twice(opened)


def _check_places(judge: Judge, items: Sequence[tuple[Prompt, Response]]) -> None:
    """Check where a judge locates checks: one row for each response, of places that are in its thinking."""
    rows = list(judge.locate_checks(iter(items)))
    expect_each_once(
        "place of checks in the response", [row.id for _, row in items], iter(rows), lambda row: row.response_id
    )
    thinkings = {row.id: row.thinking for _, row in items}
    for row in rows:
        if not row.fits(thinkings[row.response_id]):
            fail(f"{row.judge} tells of a place that is not in the thinking, or of a check and of a place for one")
        if row.place is not None and not row.opening.strip():
            fail(f"{row.judge} tells where a check would stand, but not by which words it would begin: give `opening`")
    expect_nothing("judge", judge.locate_checks(iter(())))


def check_engine(
    engine: Any,
    model: str,
    options: Mapping[str, Any] | None = None,
    *,
    prompts: Sequence[Prompt] = PROMPTS,
    long: Request = LONG,
) -> None:
    """Check an engine: each sample once, errors that cost nobody else, and the same text from the same seed.

    Args:
        engine: the plug-in.
        model: what it is to open.
        options: its options.
        prompts: what is asked.
        long: a request that it may not be able to answer.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened = open_plugin(Kind.ENGINE, engine, options, model)
    if unknown := sorted(engine.REACH - engine.Options.model_fields.keys()):
        fail(f"REACH of {name_of(engine)} names {unknown[0]!r}, which is none of its options")
    requests = [Request(prompt.id, (("user", prompt.text),)) for prompt in prompts]
    sampling = Sampling(n=2, temperature=1.0, max_tokens=8)
    wanted = [(request.id, sample) for request in [*requests, long] for sample in range(sampling.n)]
    expect_each_once("completion", wanted, opened.generate(iter([*requests, long]), sampling, 0), _completion_id)
    texts = [_texts(opened.generate(iter(requests), sampling, 7)) for _ in range(2)]
    if not engine.asks_server and texts[0] != texts[1]:
        fail(f"{name_of(engine)} writes another text to the same request with the same seed")
    if engine.asks_server:
        if opened.is_there() is not True:
            fail(f"is_there of {name_of(engine)} does not say True of a server that has just been asked")
        try:
            opened.try_it(requests[0])
        except EngineError as error:
            fail(f"try_it of {name_of(engine)} refuses a server that has just been asked: {error}")
    expect_nothing("engine", opened.generate(iter(()), sampling, 0))
    expect_closes_twice(opened)


def check_expert(expert: Any, options: Mapping[str, Any] | None = None, *, prompts: Sequence[Prompt] = PROMPTS) -> None:
    """Check an expert: something written, or the error, for each question and each demonstration.

    Args:
        expert: the plug-in.
        options: its options.
        prompts: what was asked; for an expert that reads the facts of a benchmark, prompts of that.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened = open_plugin(Kind.EXPERT, expert, options)
    for subject in _subjects(opened, "expert"):
        labels = ("safe", "unsafe") if subject is Subject.SAFETY else ("yes", "no")
        questions = [
            Question(prompt, response, text, text, label, subject, labels)
            for prompt, label in zip(prompts, [Verdict.SAFE, Verdict.UNSAFE] * len(prompts), strict=False)
            for response in (_response(prompt, "Let me see.", "Sure.", Finish.STOP),)
            for text in (f"Is this {labels[0]}? {prompt.text}",)
        ]
        asked = [question.response.id for question in questions]
        what = f"verification ({subject})"
        expect_each_once(what, asked, opened.verify(questions, 0), lambda pair: _of(pair, Question).response.id)
    for kind in Demonstration:
        shown = opened.demonstrate(prompts, kind, 0)
        expect_each_once(
            f"demonstration ({kind})", [prompt.id for prompt in prompts], shown, lambda p: _of(p, Prompt).id
        )
        expect_nothing("expert", opened.demonstrate([], kind, 0))
    expect_nothing("expert", opened.verify([], 0))


def check_attack(
    attack: Any,
    options: Mapping[str, Any] | None = None,
    *,
    prompts: Sequence[Prompt] = PROMPTS,
    repeatable: bool = True,
) -> None:
    """Check an attack: disguised prompts are new, lead back to their parents, and are the same from the same seed.

    Args:
        attack: the plug-in.
        options: its options.
        prompts: what is disguised.
        repeatable: whether the same seed gives the same disguises; not so where a server is asked.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened = open_plugin(Kind.ATTACK, attack, options)
    rows = list(opened.wrap(prompts, 0))
    if not rows:
        fail(f"{name_of(attack)} disguises none of {len(prompts)} prompts")
    ids = {prompt.id for prompt in prompts}
    for row in rows:
        siblings = [prompt for prompt in prompts if prompt.parent_id == row.parent_id]
        if not siblings:
            fail(f"{name_of(attack)} gives a prompt another parent_id, so that nobody knows what it disguises: keep it")
        if row.id in ids:
            fail(f"{name_of(attack)} gives a disguised prompt the id of the plain one: make a new one with `disguise`")
        if row.family != attack.family:
            fail(f"{name_of(attack)} gives a prompt family {row.family!r}, but its own family is {attack.family!r}")
        plain = [
            sibling
            for sibling in siblings
            if (sibling.harmful, sibling.plain_request) == (row.harmful, row.plain_request)
        ]
        if not plain:
            fail(f"{name_of(attack)} changes what a prompt asks for, or whether that is harmful: keep both on record")
        if _sent(row) in map(_sent, plain):
            fail(f"{name_of(attack)} hands on a prompt as it was: leave out what cannot be disguised")
    if len({row.id for row in rows}) < len(rows):
        fail(f"{name_of(attack)} gives two prompts the same id")
    if repeatable and rows != list(opened.wrap(prompts, 0)):
        fail(f"{name_of(attack)} disguises the same prompts in another way with the same seed")
    expect_nothing("attack", opened.wrap([], 0))


def check_benchmark(
    benchmark: Any, options: Mapping[str, Any] | None = None, *, parts: Sequence[str] = ("eval",)
) -> None:
    """Check a benchmark: prompts with ids of their own, the same each time, and parts that share nothing.

    Args:
        benchmark: the plug-in.
        options: its options.
        parts: those that it has with these options.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, again = open_plugin(Kind.BENCHMARK, benchmark, options), open_plugin(Kind.BENCHMARK, benchmark, options)
    part_of: dict[str, str] = {}
    for part in parts:
        rows = list(opened.prompts(part))
        if not rows:
            fail(f"{name_of(benchmark)} has no prompts in part {part!r}: it should raise DataError")
        if len({row.id for row in rows}) < len(rows):
            fail(f"{name_of(benchmark)} gives two prompts of part {part!r} the same id")
        if [row.id for row in rows] != [row.id for row in again.prompts(part)]:
            fail(f"{name_of(benchmark)} gives other prompts, or other ids, when it is opened again")
        for row in rows:
            _check_prompt(row, part, name_of(benchmark))
            if part_of.setdefault(row.parent_id, part) != part:
                fail(f"{name_of(benchmark)} has the same request in parts {part_of[row.parent_id]!r} and {part!r}")
        _check_answers(opened, part, {row.id for row in rows}, name_of(benchmark))
        if not isinstance(opened.note(part), str):
            fail(f"note of {name_of(benchmark)} is no text; it is empty if there is nothing to tell")
    expect_error(
        DataError, lambda: opened.prompts("no such part"), f"{name_of(benchmark)} takes a part that it does not have"
    )
    if not isinstance(opened.evaluation_only, bool):
        fail(f"evaluation_only of {name_of(benchmark)}, once opened, is neither True nor False")
    if not isinstance(opened.division(), Division | None):
        fail(f"division of {name_of(benchmark)} is neither a Division nor None")


def check_verification(verification: Any, options: Mapping[str, Any] | None = None) -> None:
    """Check a way to ask: request and answer stand in the question, and no label shows through it.

    Args:
        verification: the plug-in.
        options: its options.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, answer = open_plugin(Kind.VERIFICATION, verification, options), "Simmer it for six minutes."
    subjects = _subjects(opened, name_of(verification))
    for subject in subjects:
        _check_labels(opened.labels(subject), subject, name_of(verification))
    for prompt, subject, with_spec in product(PROMPTS, subjects, (True, False)):
        asking = {"with_spec": with_spec, "subject": subject, "words": 4 if subject is Subject.LENGTH else None}
        other = replace(prompt, harmful=not prompt.harmful, meta=json.dumps({"label": "unsafe"}), category="cooking")
        question = opened.ask(prompt, answer, **asking)
        if not isinstance(question, str) or prompt.text not in question or answer not in question:
            fail(f"{name_of(verification)} does not show the request and the answer as they are")
        if question != opened.ask(other, answer, **asking):
            fail(f"{name_of(verification)} asks otherwise of a prompt with another label, which gives the label away")
    for prompt in PROMPTS:
        if len(opened.ask(prompt, answer, with_spec=True)) <= len(opened.ask(prompt, answer, with_spec=False)):
            fail(f"{name_of(verification)} does not quote the specification where it is told to")


def _subjects(opened: Any, name: str) -> list[Subject]:
    """What a verification task or an expert can be about, in a fixed order."""
    if not opened.subjects <= frozenset(Subject) or Subject.SAFETY not in opened.subjects:
        fail(f"subjects of {name} is no set of Subjects that holds safety")
    return [subject for subject in Subject if subject in opened.subjects]


def _check_labels(labels: Any, subject: Subject, name: str) -> None:
    if not (isinstance(labels, tuple) and len(labels) == 2 and labels[0] != labels[1]):
        fail(f"labels of {name} for {subject} are no two different words")
    if subject is Subject.SAFETY and labels != tuple(Verdict):
        fail(f"labels of {name} for safety are {labels}, which must be {tuple(map(str, Verdict))}")
    if subject is not Subject.SAFETY and set(labels) & set(Verdict):
        fail(f"labels of {name} for {subject} speak of safety, which a placebo must not")
    if any(label != label.lower().strip() or len(label.split()) != 1 for label in labels):
        fail(f"labels of {name} for {subject} are no single words in lower case")


def check_model_source(source: Any, options: Mapping[str, Any] | None = None, *, build_in: Path | None = None) -> None:
    """Check a source of models: where its model is, and that what it names is there.

    Args:
        source: the plug-in.
        options: its options.
        build_in: a folder to build the model in, which may take long; None builds nothing.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, again = open_plugin(Kind.MODEL, source, options), open_plugin(Kind.MODEL, source, options)
    located, identity = opened.locate(), opened.identity()
    if located is not None and not is_model(located):
        fail(f"{name_of(source)} locates its model in {located}, where there is none: no config.json")
    if identity is not None and not (isinstance(identity, str) and identity):
        fail(f"identity of {name_of(source)} is neither a hash nor None")
    if identity != again.identity():
        fail(f"{name_of(source)} has another identity when it is opened again with the same options")
    if source.verification not in names(Kind.VERIFICATION):
        fail(f"verification of {name_of(source)} is {source.verification!r}, which no plug-in is called")
    if source.diagnosis not in packaged_diagnoses():
        fail(f"diagnosis of {name_of(source)} is {source.diagnosis!r}; there are: {', '.join(packaged_diagnoses())}")
    if build_in is not None:
        opened.build(0, build_in, lambda _done, _total: None)
        if not is_model(build_in):
            fail(f"{name_of(source)} has built no model in the folder that it was given: no config.json")


def _judged_id(row: Any) -> str:
    if not isinstance(row, Judgement):
        fail(f"a judge gives Judgements, not {type(row).__name__}")
    return row.response_id


def _completion_id(row: Any) -> tuple[str, int]:
    if not isinstance(row, Completion):
        fail(f"an engine gives Completions, not {type(row).__name__}")
    if (row.error is not None) != (row.finish in (Finish.ERROR, Finish.FILTERED)):
        fail(f"completion {row.request_id!r} has finish {row.finish!s} and error {row.error!r}: both or neither failed")
    if row.error is not None and row.answer is not None:
        fail(f"completion {row.request_id!r} has an error and an answer")
    return row.request_id, row.sample


def _texts(rows: Iterable[Completion]) -> dict[tuple[str, int], tuple[str | None, str | None]]:
    return {(row.request_id, row.sample): (row.thinking, row.answer) for row in rows}


def _of(pair: Any, asked: type) -> Any:
    """What an expert was asked, of a pair of that and what it wrote."""
    if not (
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], asked) and isinstance(pair[1], ExpertReply)
    ):
        fail(f"an expert gives pairs of a {asked.__name__} and an ExpertReply")
    written = pair[1]
    if written.error is None and not (written.thinking or written.answer):
        fail("an expert that has written nothing says why in `error`")
    return pair[0]


def _check_prompt(row: Any, part: str, name: str) -> None:
    if not isinstance(row, Prompt):
        fail(f"{name} gives Prompts, not {type(row).__name__}")
    if not row.text.strip() or not row.id or not row.parent_id or not row.benchmark:
        fail(f"{name} gives a prompt without text, id, parent_id or benchmark")
    if (row.split is Split.TRAIN) != (part == "train"):
        fail(f"{name} gives prompts of part {part!r} the split {row.split.value!r}: `train` is for part train alone")


def _check_answers(opened: Any, part: str, ids: set[str], name: str) -> None:
    if not opened.holds_answers:
        expect_error(DataError, lambda: opened.answers(part), f"{name} gives answers, but its holds_answers is False")
    elif strange := set(opened.answers(part)) - ids:
        fail(f"{name} has an answer to {min(strange)!r}, which is the id of none of its prompts in part {part!r}")


def _response(prompt: Prompt, thinking: str | None, answer: str | None, finish: Finish) -> Response:
    error = None if answer is not None else "the server is away"
    return Response(make_id(prompt.id, answer), prompt.id, 0, thinking, answer, finish, error=error)


def _sent(prompt: Prompt) -> tuple[str, str, str, bool]:
    return prompt.text, prompt.system, prompt.prefill, prompt.raw
