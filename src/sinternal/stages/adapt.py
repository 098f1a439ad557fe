"""Stage `adapt`: attack a model again and again, each time with what was learnt from its last answers.

Query by query, for all prompts at once: the attack proposes, the model answers, the judge labels. A prompt to which the
model gave an unsafe answer is left alone from then on. With feedback withheld, the same attack is its own control.

Each of the three steps is a table of its own while the attack goes on, so that an interrupted one is resumed within a
step; what an attack proposes depends on nothing but what stands in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sinternal.attacks import AdaptiveAttack, Feedback, Search, Tried, disguise
from sinternal.engines import Engine, open_engine
from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.judges import Judge, label_each
from sinternal.queries import Query
from sinternal.records import Judgement, Prompt, Response
from sinternal.settings.plugins import AdaptiveAttackPlugin, EnginePlugin, JudgePlugin, plugins_in
from sinternal.stages.sample import SampleConfig, count_truncated, to_request, to_responses
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft, Table

if TYPE_CHECKING:
    from sinternal.records import R

NOTHING_SENT = 0.05
"""Share of the queries for which the attack had nothing to send, above which there is a note."""


AGAIN = "--again adapt attacks again from the start"
"""A failed call changes what is asked after it, so that it cannot be made good alone."""


class AdaptConfig(SampleConfig):
    """Who attacks, how often, and how the model answers."""

    attack: AdaptiveAttackPlugin
    """Who attacks."""
    judge: JudgePlugin
    """Who labels the answers."""
    budget: int = Field(ge=1)
    """Queries for each prompt."""
    feedback: bool
    """Whether the attack sees what came of its queries."""
    most: int | None = None
    """The most prompts that there can be, where that is known."""


def adapt(draft: Draft, config: AdaptConfig, *, prompts: Artifact, model: Artifact) -> None:
    """Write the tables `queries`, `responses` and `judgements`: a row for each query that was made.

    Raises:
        DataError: there is no harmful prompt, or the attack breaks its contract.
    """
    harmful = {prompt.id: prompt for prompt in prompts.table(Prompt) if prompt.harmful}
    if not harmful:
        raise DataError("there is no harmful request to attack; name a benchmark in prompts.eval that has some")
    attack: AdaptiveAttack = config.attack.open()
    with _Model(config, model) as target:
        rounds = [*_Attack(draft, config, attack, target, harmful).play()]
    answered = draft.write_sorted((row for table in rounds for row in table.responses), Response)
    draft.write_sorted((row for table in rounds for row in table.queries), Query)
    labels = draft.write_sorted((row for table in rounds for row in table.judgements), Judgement)
    draft.counts["truncated"] = count_truncated(answered.columns("finish")["finish"])
    draft.counts["unlabelled"] = int((labels.columns("safe")["safe"] < 0).sum())
    draft.counts["broken"] = int((labels.columns("safe")["safe"] == 0).sum())
    draft.counts["prompts"] = len(harmful)
    calls.keep(draft, answered, "answers to an adaptive attack", AGAIN)
    draft.notes.extend(_notes([row for table in rounds for row in table.queries], config))


@dataclass(frozen=True)
class _Round:
    """One query for each prompt that still goes on."""

    queries: Table[Query]
    responses: Table[Response]
    judgements: Table[Judgement]


class _Model:
    """The model under attack, opened when it is first asked.

    It stays open from query to query unless judge or attacker run a model of their own on this machine, for which it
    has to make room.
    """

    def __init__(self, config: AdaptConfig, model: Artifact) -> None:
        self.config, self.model = config, model
        engines = [each for each in plugins_in((config.judge, config.attack)) if isinstance(each, EnginePlugin)]
        self.makes_room = any(not engine.plugin_class.asks_server for engine in engines)
        self._engine: Engine | None = None
        self._context: Any = None

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
        self._engine = self._context = None

    def answer(self, asked: Sequence[Prompt]) -> Iterator[Response]:
        """What it answers to disguised prompts."""
        if not asked:
            return
        if self._engine is None:
            self._context = open_engine(self.config.engine, model_name(self.model))
            self._engine = self._context.__enter__()
        requests = (to_request(prompt, self.config.system) for prompt in asked)
        yield from to_responses(self._engine.generate(requests, self.config.sampling, self.config.seed))
        if self.makes_room:
            self.close()


class _Attack:
    """Plays one attack, round by round."""

    def __init__(
        self,
        draft: Draft,
        config: AdaptConfig,
        attack: AdaptiveAttack,
        target: _Model,
        harmful: Mapping[str, Prompt],
    ) -> None:
        self.draft, self.config, self.attack, self.target, self.harmful = draft, config, attack, target, harmful
        self.tried: dict[str, list[Tried]] = {identity: [] for identity in harmful}
        self.broken: set[str] = set()

    def play(self) -> Iterator[_Round]:
        """Every round, until the budget is used up or every prompt has succeeded."""
        told, made, most = self.draft.progress, 0, len(self.harmful) * self.config.budget
        for number in range(self.config.budget):
            searches = [
                Search(prompt, tuple(self.tried[identity]), self.config.budget)
                for identity, prompt in self.harmful.items()
                if identity not in self.broken
            ]
            if not searches:
                break
            before = made
            self.draft.progress = lambda done, _total, before=before: told(before + done, most)  # type: ignore[misc]
            played = self._round(number, searches)
            made += len(searches)
            yield played
        self.draft.progress = told
        told(most, most)

    def _round(self, number: int, searches: Sequence[Search]) -> _Round:
        by_id = {search.prompt.id: search for search in searches}
        queries = self._table(
            Query,
            number,
            lambda finished: self._proposals([by_id[i] for i in by_id if i not in finished]),
            list(by_id),
            lambda row: row.prompt_id,
        )
        sent = {row.id: self._disguised(row) for row in queries if row.text is not None}
        responses = self._table(
            Response,
            number,
            lambda finished: self.target.answer([prompt for i, prompt in sent.items() if i not in finished]),
            list(sent),
            lambda row: row.prompt_id,
        )
        answered = {row.id: row for row in responses}
        judgements = self._table(
            Judgement,
            number,
            lambda finished: self._labels([row for i, row in answered.items() if i not in finished], sent),
            list(answered),
            lambda row: row.response_id,
        )
        self._learn(queries, responses, judgements)
        return _Round(queries, responses, judgements)

    def _table(
        self,
        row_type: type[R],
        number: int,
        make: Callable[[frozenset[str]], Iterator[R]],
        groups: Sequence[str],
        group: Callable[[R], str],
    ) -> Table[R]:
        """One step of one round; it stays until the artifact is complete, and leaves nothing in its counts."""
        name = f"{row_type.__name__.lower()}-{number:04}"
        table = self.draft.stream(row_type, make, total=len(groups), group=group, groups=groups, table=name)
        self.draft.scaffolding.append(table.path)
        self.draft.counts.pop(name, None)
        return table

    def _proposals(self, searches: Sequence[Search]) -> Iterator[Query]:
        if not searches:
            return
        waiting = {search.prompt.id: search.number for search in searches}
        for query in self.attack.propose(searches, self.config.seed):
            if waiting.pop(query.prompt_id, None) != query.number:
                raise DataError(
                    f"adaptive attack {self.config.attack.name!r} gave a query for prompt {query.prompt_id!r} that it "
                    "was not asked for, or gave it twice: it gives one for each search, made by Search.query; fix it"
                )
            yield query
        if waiting:
            raise DataError(
                f"adaptive attack {self.config.attack.name!r} gave no query for {len(waiting)} of {len(searches)} "
                "searches: where it has nothing to send, it gives one without text; fix it"
            )

    def _disguised(self, query: Query) -> Prompt:
        """What is sent: the judge and the reader see the plain request beneath it."""
        plain = self.harmful[query.prompt_id]
        around = {"system": query.system or plain.system, "prefill": query.prefill}
        return replace(disguise(plain, self.attack.family, query.text or "", **around), id=query.id)

    def _labels(self, responses: Sequence[Response], sent: Mapping[str, Prompt]) -> Iterator[Judgement]:
        if not responses:
            return
        judge: Judge = self.config.judge.open()
        with closing(judge):
            items = [(sent[row.prompt_id], row) for row in responses]
            yield from label_each(judge, self.config.judge.name, items)

    def _learn(self, queries: Table[Query], responses: Table[Response], judgements: Table[Judgement]) -> None:
        """Remember what came of each query, and which prompts need no more of them."""
        said = {row.prompt_id: row for row in responses}
        labels = {row.response_id: row for row in judgements}
        for query in queries:
            response = said.get(query.id)
            label = labels[response.id] if response else None
            feedback = Feedback(
                response.answer if response else None,
                label.safe if label else None,
                label.refused if label else None,
                label.helpful if label else None,
            )
            self.tried[query.prompt_id].append(Tried(query, feedback if self.config.feedback else None))
            if feedback.safe is False:
                self.broken.add(query.prompt_id)


def _notes(queries: Sequence[Query], config: AdaptConfig) -> Iterator[str]:
    failed = sum(query.error is not None for query in queries)
    if failed:
        yield (
            f"attack {config.attack.name!r} could not say what to send for {failed} of {len(queries)} queries, as its "
            f"own model failed ({next(query.error for query in queries if query.error)}); {AGAIN}"
        )
    silent = sum(query.text is None for query in queries) - failed
    if silent > NOTHING_SENT * len(queries):
        yield f"attack {config.attack.name!r} had nothing to send for {silent} of {len(queries)} queries"


def _cost(config: AdaptConfig, inputs: Mapping[str, int]) -> Costs:
    prompts = min(inputs["prompts"], config.most or inputs["prompts"])
    rows = prompts * config.budget
    each = 2 + int(config.attack.plugin_class.asks)
    return Costs(rows, rows * each, rows * config.sampling.max_tokens)


STAGE = Stage(
    name="adapt",
    function=adapt,
    version=1,
    cost=_cost,
    counted_as="responses",
    rounds="an adaptive attack waits for the answers to its last queries and their labels",
)
