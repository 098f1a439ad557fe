"""What the author of a plug-in runs in his own tests: does it keep the contract of its kind?

    from sinternal.testing import check_judge

    def test_my_guard() -> None:
        check_judge(MyGuard, {"engine": {"name": "openai", "model": "m", "options": {"base_url": server.url}}})

Each check opens the plug-in with options as a recipe would say them, asks a few mild things of it, and raises an
AssertionError that says in one sentence what is wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from sinternal.benchmarks import Division
from sinternal.engines import Completion, Request
from sinternal.errors import DataError, EngineError
from sinternal.experts import Demonstration, ExpertReply, Question
from sinternal.judges import Judge
from sinternal.models.resolve import is_model
from sinternal.records import Finish, Judgement, Prompt, Response, Split, Subject, Verdict, make_id
from sinternal.registry import Kind, missing_attributes, names
from sinternal.settings.files import packaged_diagnoses
from sinternal.settings.sampling import Sampling


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
    opened = _open(Kind.JUDGE, judge, options)
    answered = [_response(prompt, "Let me see.", answer, Finish.STOP) for prompt in prompts]
    failed = [_response(prompt, None, None, Finish.ERROR) for prompt in prompts]
    items = list(zip([*prompts, *prompts], [*answered, *failed], strict=True))
    _each_once(
        "judgement of the response", items and [row.id for _, row in items], opened.judge(iter(items)), _judged_id
    )
    silent = {row.id for row in failed}
    for row in opened.judge(iter(items)):
        labels = (row.safe, row.refused, row.helpful, row.checks, row.saw_harm)
        if row.response_id in silent and any(label is not None for label in labels):
            _fail(f"{row.judge} labels a response that failed and says nothing: a label that is not known is None")
        if not judge.tells_safety and row.safe is not None:
            _fail(f"{row.judge} labels safety, but its tells_safety is False")
        if not judge.tells_refusals and row.refused is not None:
            _fail(f"{row.judge} labels refusals, but its tells_refusals is False: set it to True")
        if row.judged != opened.judged:
            _fail(
                f"{row.judge} says in a judgement that it looked at {row.judged!r}, but its judged is {opened.judged!r}"
            )
    _nothing_of_nothing("judge", opened.judge(iter(())))
    if judge.locates_checks:
        _check_places(opened, items)
    _close_twice(opened)


def _check_places(judge: Judge, items: Sequence[tuple[Prompt, Response]]) -> None:
    """Check where a judge locates checks: one row for each response, of places that are in its thinking."""
    rows = list(judge.locate_checks(iter(items)))
    _each_once("place of checks in the response", [row.id for _, row in items], iter(rows), lambda row: row.response_id)
    thinkings = {row.id: row.thinking for _, row in items}
    for row in rows:
        if not row.fits(thinkings[row.response_id]):
            _fail(f"{row.judge} tells of a place that is not in the thinking, or of a check and of a place for one")
        if row.place is not None and not row.opening.strip():
            _fail(f"{row.judge} tells where a check would stand, but not by which words it would begin: give `opening`")
    _nothing_of_nothing("judge", judge.locate_checks(iter(())))


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
    opened = _open(Kind.ENGINE, engine, options, model)
    if unknown := sorted(engine.REACH - engine.Options.model_fields.keys()):
        _fail(f"REACH of {_name(engine)} names {unknown[0]!r}, which is none of its options")
    requests = [Request(prompt.id, (("user", prompt.text),)) for prompt in prompts]
    sampling = Sampling(n=2, temperature=1.0, max_tokens=8)
    wanted = [(request.id, sample) for request in [*requests, long] for sample in range(sampling.n)]
    _each_once("completion", wanted, opened.generate(iter([*requests, long]), sampling, 0), _completion_id)
    texts = [_texts(opened.generate(iter(requests), sampling, 7)) for _ in range(2)]
    if not engine.asks_server and texts[0] != texts[1]:
        _fail(f"{_name(engine)} writes another text to the same request with the same seed")
    if engine.asks_server:
        if opened.is_there() is not True:
            _fail(f"is_there of {_name(engine)} does not say True of a server that has just been asked")
        try:
            opened.try_it(requests[0])
        except EngineError as error:
            _fail(f"try_it of {_name(engine)} refuses a server that has just been asked: {error}")
    _nothing_of_nothing("engine", opened.generate(iter(()), sampling, 0))
    _close_twice(opened)


def check_expert(expert: Any, options: Mapping[str, Any] | None = None, *, prompts: Sequence[Prompt] = PROMPTS) -> None:
    """Check an expert: something written, or the error, for each question and each demonstration.

    Args:
        expert: the plug-in.
        options: its options.
        prompts: what was asked; for an expert that reads the facts of a benchmark, prompts of that.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened = _open(Kind.EXPERT, expert, options)
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
        _each_once(what, asked, opened.verify(questions, 0), lambda pair: _of(pair, Question).response.id)
    for kind in Demonstration:
        shown = opened.demonstrate(prompts, kind, 0)
        _each_once(f"demonstration ({kind})", [prompt.id for prompt in prompts], shown, lambda p: _of(p, Prompt).id)
        _nothing_of_nothing("expert", opened.demonstrate([], kind, 0))
    _nothing_of_nothing("expert", opened.verify([], 0))


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
    opened = _open(Kind.ATTACK, attack, options)
    rows = list(opened.wrap(prompts, 0))
    if not rows:
        _fail(f"{_name(attack)} disguises none of {len(prompts)} prompts")
    ids = {prompt.id for prompt in prompts}
    for row in rows:
        siblings = [prompt for prompt in prompts if prompt.parent_id == row.parent_id]
        if not siblings:
            _fail(f"{_name(attack)} gives a prompt another parent_id, so that nobody knows what it disguises: keep it")
        if row.id in ids:
            _fail(f"{_name(attack)} gives a disguised prompt the id of the plain one: make a new one with `disguise`")
        if row.family != attack.family:
            _fail(f"{_name(attack)} gives a prompt family {row.family!r}, but its own family is {attack.family!r}")
        plain = [
            sibling
            for sibling in siblings
            if (sibling.harmful, sibling.plain_request) == (row.harmful, row.plain_request)
        ]
        if not plain:
            _fail(f"{_name(attack)} changes what a prompt asks for, or whether that is harmful: keep both on record")
        if _sent(row) in map(_sent, plain):
            _fail(f"{_name(attack)} hands on a prompt as it was: leave out what cannot be disguised")
    if len({row.id for row in rows}) < len(rows):
        _fail(f"{_name(attack)} gives two prompts the same id")
    if repeatable and rows != list(opened.wrap(prompts, 0)):
        _fail(f"{_name(attack)} disguises the same prompts in another way with the same seed")
    _nothing_of_nothing("attack", opened.wrap([], 0))


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
    opened, again = _open(Kind.BENCHMARK, benchmark, options), _open(Kind.BENCHMARK, benchmark, options)
    part_of: dict[str, str] = {}
    for part in parts:
        rows = list(opened.prompts(part))
        if not rows:
            _fail(f"{_name(benchmark)} has no prompts in part {part!r}: it should raise DataError")
        if len({row.id for row in rows}) < len(rows):
            _fail(f"{_name(benchmark)} gives two prompts of part {part!r} the same id")
        if [row.id for row in rows] != [row.id for row in again.prompts(part)]:
            _fail(f"{_name(benchmark)} gives other prompts, or other ids, when it is opened again")
        for row in rows:
            _check_prompt(row, part, _name(benchmark))
            if part_of.setdefault(row.parent_id, part) != part:
                _fail(f"{_name(benchmark)} has the same request in parts {part_of[row.parent_id]!r} and {part!r}")
        _check_answers(opened, part, {row.id for row in rows}, _name(benchmark))
        if not isinstance(opened.note(part), str):
            _fail(f"note of {_name(benchmark)} is no text; it is empty if there is nothing to tell")
    _raises(DataError, lambda: opened.prompts("no such part"), f"{_name(benchmark)} takes a part that it does not have")
    if not isinstance(opened.evaluation_only, bool):
        _fail(f"evaluation_only of {_name(benchmark)}, once opened, is neither True nor False")
    if not isinstance(opened.division(), Division | None):
        _fail(f"division of {_name(benchmark)} is neither a Division nor None")


def check_verification(verification: Any, options: Mapping[str, Any] | None = None) -> None:
    """Check a way to ask: request and answer stand in the question, and no label shows through it.

    Args:
        verification: the plug-in.
        options: its options.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, answer = _open(Kind.VERIFICATION, verification, options), "Simmer it for six minutes."
    subjects = _subjects(opened, _name(verification))
    for subject in subjects:
        _check_labels(opened.labels(subject), subject, _name(verification))
    for prompt, subject, with_spec in product(PROMPTS, subjects, (True, False)):
        asking = {"with_spec": with_spec, "subject": subject, "words": 4 if subject is Subject.LENGTH else None}
        other = replace(prompt, harmful=not prompt.harmful, meta=json.dumps({"label": "unsafe"}), category="cooking")
        question = opened.ask(prompt, answer, **asking)
        if not isinstance(question, str) or prompt.text not in question or answer not in question:
            _fail(f"{_name(verification)} does not show the request and the answer as they are")
        if question != opened.ask(other, answer, **asking):
            _fail(f"{_name(verification)} asks otherwise of a prompt with another label, which gives the label away")
    for prompt in PROMPTS:
        if len(opened.ask(prompt, answer, with_spec=True)) <= len(opened.ask(prompt, answer, with_spec=False)):
            _fail(f"{_name(verification)} does not quote the specification where it is told to")


def _subjects(opened: Any, name: str) -> list[Subject]:
    """What a verification task or an expert can be about, in a fixed order."""
    if not opened.subjects <= frozenset(Subject) or Subject.SAFETY not in opened.subjects:
        _fail(f"subjects of {name} is no set of Subjects that holds safety")
    return [subject for subject in Subject if subject in opened.subjects]


def _check_labels(labels: Any, subject: Subject, name: str) -> None:
    if not (isinstance(labels, tuple) and len(labels) == 2 and labels[0] != labels[1]):
        _fail(f"labels of {name} for {subject} are no two different words")
    if subject is Subject.SAFETY and labels != tuple(Verdict):
        _fail(f"labels of {name} for safety are {labels}, which must be {tuple(map(str, Verdict))}")
    if subject is not Subject.SAFETY and set(labels) & set(Verdict):
        _fail(f"labels of {name} for {subject} speak of safety, which a placebo must not")
    if any(label != label.lower().strip() or len(label.split()) != 1 for label in labels):
        _fail(f"labels of {name} for {subject} are no single words in lower case")


def check_model_source(source: Any, options: Mapping[str, Any] | None = None, *, build_in: Path | None = None) -> None:
    """Check a source of models: where its model is, and that what it names is there.

    Args:
        source: the plug-in.
        options: its options.
        build_in: a folder to build the model in, which may take long; None builds nothing.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, again = _open(Kind.MODEL, source, options), _open(Kind.MODEL, source, options)
    located, identity = opened.locate(), opened.identity()
    if located is not None and not is_model(located):
        _fail(f"{_name(source)} locates its model in {located}, where there is none: no config.json")
    if identity is not None and not (isinstance(identity, str) and identity):
        _fail(f"identity of {_name(source)} is neither a hash nor None")
    if identity != again.identity():
        _fail(f"{_name(source)} has another identity when it is opened again with the same options")
    if source.verification not in names(Kind.VERIFICATION):
        _fail(f"verification of {_name(source)} is {source.verification!r}, which no plug-in is called")
    if source.diagnosis not in packaged_diagnoses():
        _fail(f"diagnosis of {_name(source)} is {source.diagnosis!r}; there are: {', '.join(packaged_diagnoses())}")
    if build_in is not None:
        opened.build(0, build_in, lambda _done, _total: None)
        if not is_model(build_in):
            _fail(f"{_name(source)} has built no model in the folder that it was given: no config.json")


def _open(kind: Kind, plugin: Any, options: Mapping[str, Any] | None, *arguments: Any) -> Any:
    """The plug-in opened, once all that its contract asks for is there."""
    contract, name = kind.contract, _name(plugin)
    if lacking := next(missing_attributes(kind, plugin), None):
        _fail(f"{name} has no {lacking!r}: inherit from {contract.__module__}.{contract.__name__}, or define it")
    if not (isinstance(plugin.Options, type) and issubclass(plugin.Options, BaseModel)):
        _fail(f"Options of {name} is no pydantic model")
    if plugin.Options.model_config.get("extra") != "forbid":
        _fail(f"Options of {name} takes options that it does not know: set model_config = ConfigDict(extra='forbid')")
    for attribute in contract.__annotations__:
        value, default = getattr(plugin, attribute), getattr(contract, attribute, "")
        expected = type(default) if isinstance(default, bool | str | frozenset) else object
        if value is not None and not isinstance(value, expected | property):
            _fail(f"{attribute} of {name} is {value!r}, which is no {expected.__name__}")
    try:
        validated = plugin.Options.model_validate(dict(options or {}))
    except ValidationError as error:
        _fail(f"{name} does not take the options of this check: {' '.join(str(error).split())}")
    return plugin(*arguments, validated)


def _each_once(what: str, wanted: Sequence[Hashable], rows: Iterable[Any], key: Callable[[Any], Hashable]) -> None:
    """Whether there is one row for each thing that was asked for, and no other."""
    counts = Counter(map(key, rows))
    if missing := next((identity for identity in wanted if identity not in counts), None):
        _fail(f"no {what} for {missing!r}: every one that is asked for comes back, if need be as an error")
    if twice := next((identity for identity, count in counts.items() if count > 1), None):
        _fail(f"{counts[twice]} times a {what} for {twice!r}, which was asked for once")
    if strange := next((identity for identity in counts if identity not in set(wanted)), None):
        _fail(f"a {what} for {strange!r}, which was not asked for")


def _judged_id(row: Any) -> str:
    if not isinstance(row, Judgement):
        _fail(f"a judge gives Judgements, not {type(row).__name__}")
    return row.response_id


def _completion_id(row: Any) -> tuple[str, int]:
    if not isinstance(row, Completion):
        _fail(f"an engine gives Completions, not {type(row).__name__}")
    if (row.error is not None) != (row.finish in (Finish.ERROR, Finish.FILTERED)):
        _fail(
            f"completion {row.request_id!r} has finish {row.finish!s} and error {row.error!r}: both or neither failed"
        )
    if row.error is not None and row.answer is not None:
        _fail(f"completion {row.request_id!r} has an error and an answer")
    return row.request_id, row.sample


def _texts(rows: Iterable[Completion]) -> dict[tuple[str, int], tuple[str | None, str | None]]:
    return {(row.request_id, row.sample): (row.thinking, row.answer) for row in rows}


def _of(pair: Any, asked: type) -> Any:
    """What an expert was asked, of a pair of that and what it wrote."""
    if not (
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], asked) and isinstance(pair[1], ExpertReply)
    ):
        _fail(f"an expert gives pairs of a {asked.__name__} and an ExpertReply")
    written = pair[1]
    if written.error is None and not (written.thinking or written.answer):
        _fail("an expert that has written nothing says why in `error`")
    return pair[0]


def _check_prompt(row: Any, part: str, name: str) -> None:
    if not isinstance(row, Prompt):
        _fail(f"{name} gives Prompts, not {type(row).__name__}")
    if not row.text.strip() or not row.id or not row.parent_id or not row.benchmark:
        _fail(f"{name} gives a prompt without text, id, parent_id or benchmark")
    if (row.split is Split.TRAIN) != (part == "train"):
        _fail(f"{name} gives prompts of part {part!r} the split {row.split.value!r}: `train` is for part train alone")


def _check_answers(opened: Any, part: str, ids: set[str], name: str) -> None:
    if not opened.holds_answers:
        _raises(DataError, lambda: opened.answers(part), f"{name} gives answers, but its holds_answers is False")
    elif strange := set(opened.answers(part)) - ids:
        _fail(f"{name} has an answer to {min(strange)!r}, which is the id of none of its prompts in part {part!r}")


def _raises(kind: type[Exception], call: Callable[[], object], sentence: str) -> None:
    try:
        call()
    except kind:
        return
    _fail(f"{sentence}: it should raise {kind.__name__}")


def _nothing_of_nothing(noun: str, rows: Iterable[object]) -> None:
    if list(rows):
        _fail(f"the {noun} gives something where nothing is asked for")


def _close_twice(opened: Any) -> None:
    opened.close()
    try:
        opened.close()
    except Exception as error:
        _fail(f"close of {_name(type(opened))} fails when it is called again: {type(error).__name__}: {error}")


def _response(prompt: Prompt, thinking: str | None, answer: str | None, finish: Finish) -> Response:
    error = None if answer is not None else "the server is away"
    return Response(make_id(prompt.id, answer), prompt.id, 0, thinking, answer, finish, error=error)


def _sent(prompt: Prompt) -> tuple[str, str, str, bool]:
    return prompt.text, prompt.system, prompt.prefill, prompt.raw


def _name(plugin: Any) -> str:
    return plugin.__qualname__ if isinstance(plugin, type) else type(plugin).__qualname__


def _fail(sentence: str) -> NoReturn:
    raise AssertionError(sentence)
