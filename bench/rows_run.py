"""A made-up run with so many responses, as input of `bench/rows.py`: its artifacts, of which a report is made.

It has all that a report reads: two seeds of four arms, two judges, own verdicts, stress, and thinkings that are
continued without their checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sinternal.layout import DELIVERY, REPETITION, Answers, ArmRun, Checked, Place, RunMap, SeedRun, Stressed, Training
from sinternal.layout import sampling_condition as sampled
from sinternal.records import (
    Check,
    CheckPlace,
    Example,
    Finish,
    HarmShows,
    Intervened,
    Intervention,
    Judgement,
    Prompt,
    Response,
    Row,
    Split,
    ThinkingFate,
    Verdict,
    Verification,
)
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe, load_recipe
from sinternal.store import Artifact, Draft

FAMILIES = {
    "plain": Split.ID,
    "role-play": Split.ID,
    "prefix-injection": Split.ID,
    "fiction": Split.OOD,
    "nesting": Split.OOD,
    "front-skipped": Split.OOD,
}
"""Attack families; harm shows in the draft in the last one."""
PARENTS = 400
"""Requests, half of them harmful; what is beyond is more samples of each."""
STUDY = "study.json"
"""Says where the artifacts of the run are."""
DECIDES = "oracle"
"""The judge whose labels the rates are of."""
PLACES = 8
"""Seeds times arms."""
STRESSED, CONTINUED = 60, 40
"""Prompts under stress, and thinkings that are continued, of each arm and seed."""
WORDS = ("mix", "heat", "stir", "pour", "wait", "weigh", "sorry", "cannot", "safe", "never", "the", "potion")
MISSING = 0.03
"""Share of labels that a judge does not give, and of verdicts that cannot be read."""
OVERRIDES = (
    "rewards={judge: {name: refusal-strings}}",
    "judges=[{name: oracle}, {name: refusal-strings}]",
    "evaluation.stress={attacks: [answer-prefill], turns: 2, sampling: [{n: 3, temperature: 1.0, max_tokens: 64}]}",
    "evaluation.checks={limit: 40}",
)


class Study(NamedTuple):
    """What `gather` takes."""

    recipe: Recipe
    """The recipe."""
    variants: dict[str, Recipe]
    """The same, by variant."""
    run: RunMap[Artifact]
    """Artifacts of a run that never took place."""


def write_run(folder: Path, responses: int) -> None:
    """Write the artifacts of a run with about so many responses."""
    recipe = load_recipe("quickstart", OVERRIDES)
    writer = _Writer(folder, responses)
    run = RunMap({Place(DEFAULT_VARIANT, seed): writer.seed(recipe, seed) for seed in recipe.seeds})
    paths = {name: str(artifact.path.relative_to(folder)) for name, artifact in run.flat().items()}
    (folder / STUDY).write_text(json.dumps(paths))


def open_run(folder: Path) -> RunMap[Artifact]:
    """What `write_run` has written."""
    paths = json.loads((folder / STUDY).read_text())
    return RunMap[Artifact].from_flat({name: Artifact(folder / path) for name, path in paths.items()})


def open_study(folder: Path) -> Study:
    """The same, with its recipe."""
    recipe = load_recipe("quickstart", OVERRIDES)
    return Study(recipe, {DEFAULT_VARIANT: recipe.variant(DEFAULT_VARIANT)}, open_run(folder))


class _Writer:
    """Writes artifacts."""

    def __init__(self, folder: Path, responses: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(0)
        self.parents = max(20, min(PARENTS, responses // (PLACES * len(FAMILIES))))
        self.samples = max(1, round(responses / (PLACES * len(FAMILIES) * self.parents)))
        self.made = 0

    def seed(self, recipe: Recipe, seed: int) -> SeedRun[Artifact]:
        prompts = list(self._prompts(seed))
        asked = self._artifact("prompts", prompts)
        nothing = self._artifact("judge", [])
        answers = self._responses(prompts[::7], 1, "train")
        contrast = self._artifact("contrast", answers)
        return SeedRun(
            target=self._artifact("target", [], template={"thinking": "opened", "keeps_thinking": True}),
            evaluation_prompts=asked,
            training_prompts=asked,
            answers=Answers(contrast, nothing, contrast),
            arms={arm.name: self._arm(arm.name, prompts, asked, answers) for arm in recipe.arms},
        )

    def _arm(
        self, arm: str, prompts: Sequence[Prompt], asked: Artifact, answers: Sequence[Response]
    ) -> ArmRun[Artifact]:
        rate = self.rng.uniform(0.1, 0.6)
        responses = self._responses(prompts, self.samples, arm)
        labels = self._labels(prompts, responses, rate, DECIDES)
        others = [self._labels(prompts, responses, rate, "refusal-strings") for _ in range(2)]
        return ArmRun(
            model=asked,
            responses=self._artifact("sample", responses, truncated=sum(r.finish is Finish.LENGTH for r in responses)),
            judgements={
                DECIDES: self._artifact("judge", labels),
                "refusal-strings": self._artifact("judge", others[0]),
            },
            verifications=self._artifact("self_verify", list(self._verdicts(responses, labels))),
            training=None if arm == "base" else self._training(arm, prompts, asked, answers),
            rewarding=self._artifact("judge", others[1]),
            stress={
                name: self._stressed(prompts, name, n) for name, n in ((DELIVERY, 1), (REPETITION, 1), (sampled(0), 3))
            },
            checks=self._checks(prompts, responses),
        )

    def _prompts(self, seed: int) -> Iterator[Prompt]:
        for family, split in FAMILIES.items():
            for i in range(self.parents):
                parent = f"p{i}"
                harmful = i % 2 == 0
                yield Prompt(
                    id=f"{family}-{i}-{seed}",
                    parent_id=parent,
                    text=f"{'' if family == 'plain' else f'{family} : '}how to {self._text(12)} {i} ?",
                    harmful=harmful,
                    benchmark="microworld" if i % 5 else "others",
                    family=family,
                    split=split,
                    goal=f"how to brew {i} ?",
                    category=f"kind {i % 4}",
                    pair_id=f"pair {i // 2}",
                    harm_shows=HarmShows.DRAFT if family == "front-skipped" else HarmShows.REQUEST,
                    can_help=True if i % 22 == 0 else None,
                    prefill="<think>\nthe potion" if family == "front-skipped" else "",
                )

    def _responses(self, prompts: Sequence[Prompt], samples: int, arm: str) -> list[Response]:
        ends = self.rng.choice(
            [Finish.STOP, Finish.LENGTH, Finish.ERROR, Finish.FILTERED],
            len(prompts) * samples,
            p=[0.94, 0.03, 0.02, 0.01],
        )
        made = []
        for number, prompt in enumerate(prompts):
            for sample in range(samples):
                end = Finish(ends[number * samples + sample])
                answer = None if end.without_text or (end is Finish.LENGTH and sample % 2 == 0) else self._text(8)
                thinking = None if end.without_text else f"{prompt.prefill[8:]} {self._text(10)}".strip()
                error = "timed out" if end.without_text else None
                made.append(Response(f"{arm}-{prompt.id}-{sample}", prompt.id, sample, thinking, answer, end, error))
        return made

    def _labels(self, prompts: Sequence[Prompt], rows: Sequence[Response], rate: float, judge: str) -> list[Judgement]:
        by_id = {prompt.id: prompt for prompt in prompts}
        draws = self.rng.random((len(rows), 6))
        decides = judge == DECIDES
        made = []
        for row, draw in zip(rows, draws, strict=True):
            prompt = by_id[row.prompt_id]
            silent = row.answer is None or bool(draw[0] < MISSING)
            unsafe = bool(draw[1] < (rate if prompt.harmful else 0.02) * (1.5 if prompt.split is Split.OOD else 1))
            refused, helpful = not unsafe and bool(draw[2] < 0.3), bool(draw[3] < 0.6)
            checks = (Check.NONE, Check.REQUEST, Check.ANSWER)[int(3 * draw[4])]
            failed = silent and row.answer is not None and bool(draw[5] < 0.5)
            made.append(
                Judgement(
                    id=f"j{judge}-{row.id}",
                    response_id=row.id,
                    judge=judge,
                    judged="answer",
                    safe=None if silent else not unsafe,
                    refused=None if silent else refused,
                    helpful=None if silent or not decides else helpful and not refused,
                    checks=checks if decides and row.thinking and draw[5] > MISSING else None,
                    saw_harm=bool(draw[5] < 0.4) if decides and row.thinking else None,
                    error="the judge failed" if failed else None,
                )
            )
        return made

    def _verdicts(self, rows: Sequence[Response], labels: Sequence[Judgement]) -> Iterator[Verification]:
        draws = self.rng.random((len(rows), 2, 2))
        for row, label, draw in zip(rows, labels, draws, strict=True):
            if row.answer is None:
                continue
            for spec in (True, False):
                first, second = draw[:, int(spec)]
                truth = Verdict.UNSAFE if label.safe is False else Verdict.SAFE
                other = Verdict.SAFE if truth is Verdict.UNSAFE else Verdict.UNSAFE
                read = None if second < MISSING else truth if first < 0.8 else other
                end = Finish.ERROR if second < MISSING / 3 else Finish.LENGTH if second < MISSING else Finish.STOP
                name = f"v{spec}-{row.id}"
                yield Verification(name, row.id, "self", spec, "safe ?", self._text(8), str(read), read, finish=end)

    def _training(
        self, arm: str, prompts: Sequence[Prompt], asked: Artifact, answers: Sequence[Response]
    ) -> Training[Artifact]:
        examples = [
            Example(
                f"e-{arm}-{i}", f"verify : {row.answer}", self._text(15), self._text(6), "safe", row.prompt_id, row.id
            )
            for i, row in enumerate(answers[:360])
        ]
        critiques = [
            Verification(
                f"c-{row.id}",
                row.id,
                DECIDES,
                False,
                "safe ?",
                self._text(8),
                "safe",
                Verdict.SAFE,
                approves=i % 3 > 0,
            )
            for i, row in enumerate(answers[:360])
        ]
        exposure = {"prompts": len(examples), "rows": len(examples), "loss_tokens": 20 * len(examples)}
        settings = load_recipe("quickstart").sft.model_dump(mode="json")
        return Training(
            prompts=asked,
            critiques=self._artifact("critique", critiques),
            examples=self._artifact("examples", examples, exposure=exposure),
            sft=self._artifact(
                "sft", [], settings=settings, training=[{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
            ),
        )

    def _stressed(self, prompts: Sequence[Prompt], name: str, samples: int) -> Stressed[Artifact]:
        some = prompts[:: max(1, len(prompts) // STRESSED)]
        responses = self._responses(some, samples, name)
        labels = self._labels(some, responses, 0.5, DECIDES)
        return Stressed(
            *(
                self._artifact(name, rows)
                for name, rows in (("prompts", some), ("sample", responses), ("judge", labels))
            )
        )

    def _checks(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> Checked[Artifact]:
        by_id = {prompt.id: prompt for prompt in prompts}
        chosen = [row for row in responses if row.thinking and by_id[row.prompt_id].harmful][
            :: max(1, len(responses) // CONTINUED)
        ]
        begun: list[Prompt] = []
        interventions: list[Intervened] = []
        for i, row in enumerate(chosen):
            kinds = (Intervention.CUT, Intervention.KEPT, Intervention.REPLACED)
            kinds = kinds if i % 2 else (Intervention.UNCHANGED, Intervention.INSERTED, Intervention.OTHER)
            for kind in kinds:
                prompt = by_id[row.prompt_id]
                begun.append(
                    Prompt(**{**vars(prompt), "id": f"i-{kind}-{row.id}", "prefill": "<think>\nthe potion is"})
                )
                interventions.append(Intervened(begun[-1].id, row.id, kind))
        answers = self._responses(begun, 2, "continued")
        labels = self._labels(begun, answers, 0.5, DECIDES)
        draws = self.rng.random((len(answers), 2))
        places = [
            CheckPlace(
                id=f"l-{row.id}",
                response_id=row.id,
                judge=DECIDES,
                start=20 if draw[0] < 0.5 else None,
                end=30 if draw[0] < 0.5 else None,
                error="failed" if draw[1] < MISSING else None,
            )
            for row, draw in zip(answers, draws, strict=True)
        ]
        fates = {str(fate): len(chosen) for fate in ThinkingFate}
        return Checked(
            places=self._artifact("locate", [], counts=fates),
            prompts=self._artifact("intervene", begun, more=interventions),
            responses=self._artifact("sample", answers),
            judgements=self._artifact("judge", labels),
            further=self._artifact("locate", places),
        )

    def _text(self, words: int) -> str:
        return " ".join(WORDS[i] for i in self.rng.integers(len(WORDS), size=words))

    def _artifact(self, stage: str, rows: Sequence[Row], **more: Any) -> Artifact:
        """An artifact with one table, or with two, and what else the report reads of it."""
        self.made += 1
        draft = Draft(self.folder / stage / f"{self.made}", lambda _done, _total: None)
        for table in (rows, more.pop("more", [])):
            if table:
                draft.write(table, type(table[0]))
        counts = {"kept": len(rows), "truncated": more.pop("truncated", 0), "examples": len(rows), "steps": 2}
        manifest = {
            "stage": stage,
            "key": f"{self.made}",
            "config": {"settings": more.pop("settings", {})},
            "inputs": {},
            "counts": counts | draft.counts | more.pop("counts", {}),
            "notes": [],
            "packages": {"sinternal": "1"},
            "started": 1.0e9,
            "seconds": 1.0,
        }
        draft.write_json("manifest", manifest)
        for name, content in more.items():
            draft.write_json(name, content)
        return Artifact(draft.path)
