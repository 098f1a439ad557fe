"""Pages whose every field holds nasty strings, and what a browser sees of them when a reader does all that one can."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.browser import PATIENCE, Browser, every_event
from bench.hostile_texts import scripts
from bench.invented import make_report
from sinternal.figures.diagnosis import Diagnosed, Source, Times, diagnose
from sinternal.figures.outcomes import Outcome
from sinternal.figures.study import Arm, Capability, LearningCurve, ReportData, Transcript, Turn
from sinternal.figures.without_texts import map_texts
from sinternal.records import Finish, Judgement, Prompt, Response, Split, Verdict, Verification
from sinternal.report import diagnosis_page, study_page
from sinternal.tools.diagnosis import load_diagnosis

OURS = ("metric", "split", "over", "holds_for", "harm_shows", "points", "questions", "transcripts", "measured", "stage")
"""Fields of a study that hold words of our own alone, and those that are filled otherwise."""


EVERY_CHOICE = """
for (const select of document.querySelectorAll("#filters select")) {
  for (const option of select.options) {
    select.value = option.value;
    select.dispatchEvent(new Event("input", {bubbles: true}));
  }
}
"""
"""Chooses each option of each filter."""
CHANGING = "#transcripts"
"""The part of a page that an address, a search or a choice changes; all the rest stays as it was."""


class Turned(NamedTuple):
    """What a page did while it was turned, searched, hovered over and focused."""

    executions: int
    """Scripts of texts that ran."""
    requests: int
    """Addresses that it asked for."""
    dialogs: int
    """Dialogs, and lines on its console."""
    refused: int
    """What only its content security policy kept it from."""
    shown: int
    """Transcripts that were on the screen."""


def studies(pages: int, texts: Sequence[str]) -> Iterator[ReportData]:
    """Studies with nasty strings in every free field: another string in each field of each page.

    Args:
        pages: how many; as many as there are scripts put every script into every field.
        texts: what stands in the transcripts.
    """
    payloads = list(scripts())
    plain = make_report(prompts=4, variants=("default", "other"))
    for page in range(pages):
        yield _hostile(plain, payloads, texts, page * max(1, len(payloads) // pages))


def _hostile(data: ReportData, payloads: Sequence[str], texts: Sequence[str], first: int) -> ReportData:
    names: dict[str, str] = {}

    def change(text: str) -> str:
        # One name is one string wherever it stands, else the tables would not fit together.
        return (
            names.setdefault(text, f"{payloads[(first + 7 * len(names)) % len(payloads)]} {len(names)}") if text else ""
        )

    own = replace(
        data,
        calls=("calls failed",),
        placebos=("a placebo differs",),
        description="described",
        curves=(LearningCurve("default", "sinternal", 0, "rollouts", {"reward": ((1, 0.2), (2, 0.4))}),),
        capability=tuple(_capability(data)),
    )
    made = map_texts(own, change, OURS)
    overrides = {change("target.options.link"): change("of an override")}
    return replace(
        made,
        arms=tuple(_arm(arm, change("started from")) for arm in made.arms),
        variants=tuple(replace(variant, overrides=overrides) for variant in made.variants),
        questions=(),
        transcripts=tuple(_transcripts(made, texts, payloads)),
        measured=(),
    )


def _arm(arm: Arm, start: str) -> Arm:
    return replace(arm, start=start if arm.steps else "")


def _capability(data: ReportData) -> Iterator[Capability]:
    provenance = data.scores[0].provenance
    yield Capability(
        value=0.5, low=0.4, high=0.6, n=9, variant="default", arm="sinternal", seed=0, task="a task", metric="accuracy",
        total=9, truncated=0, provenance=provenance,
    )  # fmt: skip


def _transcripts(data: ReportData, texts: Sequence[str], payloads: Sequence[str]) -> Iterator[Transcript]:
    """Every string of the corpus in every text, some of them harmful; what they are is nasty, too."""
    for number, text in enumerate(texts):
        payload = payloads[number % len(payloads)]
        yield Transcript(
            data.variants[0].name,
            data.arms[number % len(data.arms)].name,
            0,
            payload,
            "ood",
            number % 2 == 0,
            text,
            text,
            text,
            ("unsafe", "refused", payload)[number % 3],
            number % 2 == 0,
            payload,
            payload,
            text,
            payload,
            turns=(Turn(text, text, text, text, text, text, payload),) * 2 if number % 4 == 1 else (),
            broken=payload if number % 4 == 1 else "",
        )


def diagnoses(pages: int, texts: Sequence[str]) -> Iterator[Diagnosed]:
    """Diagnoses of models with nasty names, whose texts are the corpus."""
    payloads, plain = list(scripts()), load_diagnosis("microworld")
    for page in range(pages):
        name = payloads[(page * max(1, len(payloads) // pages)) % len(payloads)]
        target = plain.target.model_copy(update={"model": name})
        settings = plain.model_copy(update={"target": target, "name": name})
        rows = [_outcome(number, text, payloads[(number + page) % len(payloads)]) for number, text in enumerate(texts)]
        yield diagnose(settings, rows, Times(0.0, 86_400.0), Source(name, name))


def _outcome(number: int, text: str, payload: str) -> Outcome:
    text = text.encode("utf-8", "replace").decode()
    prompt = Prompt(f"p{number}", f"p{number}", text, number % 2 == 0, payload, payload, Split.OOD, category=payload)
    finish, error = (Finish.ERROR, payload) if number % 9 == 0 else (Finish.STOP, None)
    response = Response(f"r{number}", prompt.id, 0, text, None if error else text, finish, error=error)
    safe = None if error else number % 3 == 0
    judgement = Judgement(f"j{number}", response.id, payload, "answer", safe, error=error, refused=False, helpful=safe)
    label = None if safe is None else Verdict.SAFE if safe else Verdict.UNSAFE
    verdict = Verdict.SAFE if number % 2 else Verdict.UNSAFE
    verifications = tuple(
        Verification(f"v{number}{spec}", response.id, "self", spec, text, text, text, verdict, label)
        for spec in (True, False)
    )
    return Outcome(prompt, response, judgement, verifications if label else ())


def pages(folder: Path, number: int, texts: Sequence[str]) -> Iterator[Path]:
    """So many pages of studies and of diagnoses with these texts, written into a folder, one at a time."""
    for kind, rendered in (
        ("study", map(study_page.render_html, studies(number, texts))),
        ("diagnosis", map(diagnosis_page.render_html, diagnoses(number, texts))),
    ):
        for count, html in enumerate(rendered):
            page = folder / f"{kind}-{count}.html"
            page.write_text(html, encoding="utf-8", errors="replace")
            yield page


def turn(browser: Browser, page: Path) -> Turned:
    """Do with a page all that a reader can: unfold, turn, search, choose, hover, focus, and come by hostile links."""
    fragments = ("", "#arm=<img src=x onerror=x>&text=<script>&page=99", "#=&__proto__=x&page=-1e9", "#<svg onload=x>")
    executions = requests = dialogs = refused = shown = 0
    for fragment in fragments:
        seen = browser.open(page, fragment)
        _wait(browser)
        browser.run(every_event(CHANGING if fragment else "body"))
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        if not fragment:
            shown = _turn_all(browser)
            for text in ("<script>", "onerror", "\u202e", "\\", "constructor", "[", "%"):
                browser.run(
                    f"{{ const field = document.querySelector('[name=text]'); field.value = {json.dumps(text)}; "
                    "field.dispatchEvent(new Event('input', {bubbles: true})) }"
                )
                browser.run(every_event(CHANGING))
            browser.run(EVERY_CHOICE)
        executions += int(browser.run("document.documentElement.dataset.owned || 0"))
        requests += len(seen.requests)
        dialogs += len(seen.dialogs)
        refused += len(seen.refused)
    return Turned(executions, requests, dialogs, refused, shown)


def _wait(browser: Browser) -> None:
    end = time.monotonic() + PATIENCE
    while not browser.run("/ of .* transcripts|cannot be shown/.test(document.getElementById('count').textContent)"):
        if time.monotonic() > end:
            raise TimeoutError("the transcripts do not appear")
        time.sleep(0.05)


def _turn_all(browser: Browser) -> int:
    """Unfold all texts, and look at each page of transcripts; returns how many there were."""
    browser.run("document.getElementById('unfold').click()")
    shown = 0
    while True:
        browser.run(every_event(CHANGING))
        shown += int(browser.run("document.querySelectorAll('#entries article').length"))
        if browser.run("document.getElementById('next').disabled"):
            return shown
        browser.run("document.getElementById('next').click()")
