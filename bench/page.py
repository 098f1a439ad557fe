"""How long a report with many long transcripts takes to show, to filter and to search, in a browser.

    python -m bench.page                   # 20,000 transcripts, 146 MB of text
    python -m bench.page --rows 2000 --keep /tmp/page

There is no peer that shows the same. Texts are drawn from a vocabulary by Zipf's law, so that no two are alike, and
words are as rare and as common as in prose. Where other work takes the processor, wall seconds say little, so the CPU
seconds of the page's own thread stand beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.browser import Browser, browser
from bench.harness import Result, Row, at_most, peak_mb
from bench.invented import ARMS, FAMILIES, make_report
from sinternal.figures.study import Transcript
from sinternal.report.page import texts_beside
from sinternal.report.study_page import render

WORDS, LENGTH = 40_000, 1_150
"""Of the vocabulary, and of a transcript."""
FIRST_VIEW, FILTER, HEAP = 2.0, 0.1, 300.0
"""Goals: seconds, seconds, MB."""
FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
READY = """(async () => {
  const count = document.getElementById("count");
  while (!/ of .* transcripts/.test(count.textContent) || !document.querySelector("#entries dd.text")) await FRAME;
  return [performance.now(), performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0];
})()""".replace("FRAME", FRAME)
CHOOSE = """(async () => {
  const field = document.querySelector("[name=NAME]"), count = document.getElementById("count");
  let drawn = false;
  new MutationObserver(() => { drawn = true; }).observe(document.getElementById("entries"), {childList: true});
  const started = performance.now();
  field.value = VALUE;
  field.dispatchEvent(new Event("input", {bubbles: true}));
  do await FRAME; while (!drawn);
  const shown = performance.now() - started;
  while (document.querySelector("#entries [aria-busy]")) await FRAME;
  return [shown, performance.now() - started, count.textContent];
})()""".replace("FRAME", FRAME)


def transcripts(rows: int) -> Iterator[Transcript]:
    """So many different ones."""
    generator = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(generator.choice(letters, size)) for size in generator.integers(2, 11, WORDS)]
    weights = 1 / np.arange(2, WORDS + 2)
    cuts = np.cumsum(weights / weights.sum())
    families, outcomes = list(FAMILIES.items()), ("unsafe", "refused", "helped", "not helpful")
    for row in range(rows):
        drawn = [words[min(i, WORDS - 1)] for i in np.searchsorted(cuts, generator.random(LENGTH)).tolist()]
        text = [" ".join(drawn[start : start + 14]) + "." for start in range(0, LENGTH, 14)]
        place, rest = divmod(row, len(ARMS))
        family, split = families[place % len(families)]
        prompt, thinking, answer = (" ".join(text[start:stop]) for start, stop in ((0, 9), (9, 60), (60, None)))
        outcome = outcomes[int(generator.integers(4))]
        origin = ("default", ARMS[rest].name, place % 2, family, split, row % 2 == 0)
        labels = (outcome, bool(row % 3), "safe", "unsafe", None)
        yield Transcript(*origin, prompt, thinking, answer, *labels, prompt_id=f"p{place}")


class Chosen(NamedTuple):
    """What a choice took, in seconds."""

    frame: float
    """Until the frame with the new count and list."""
    texts: float
    """Until all texts of the page are there."""
    cpu: float
    """Of the page's own thread, until then."""


def choose(opened: Browser, name: str, value: str) -> Chosen:
    """Fill in a field."""
    before = opened.cpu()
    shown, whole, _ = opened.run(CHOOSE.replace("NAME", name).replace("VALUE", json.dumps(value)))
    return Chosen(shown / 1000, whole / 1000, opened.cpu() - before)


def make(path: Path, number: int) -> list[Row]:
    """Write a page with so many transcripts; what that took."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = tuple(transcripts(number))
    started = time.process_time()
    render(replace(make_report(prompts=4), transcripts=rows), most=0).write(path)
    took = time.process_time() - started
    size = sum(len(f"{row.prompt}{row.thinking}{row.answer}") for row in rows) / 1e6
    return [
        at_most(f"making both, of {size:,.0f} MB of text", "s of CPU", [took], None),
        at_most("peak of memory, all rows held", "MB", [peak_mb()], None),
    ]


def measure(path: Path, repeats: int) -> dict[str, list[float]]:
    """Open a page so often, choose and search; the seconds, and MB of memory, of each."""
    figures: dict[str, list[float]] = {}
    with browser() as opened:
        for _ in range(repeats):
            opened.open(path)
            ready, paint = opened.run(READY)
            seconds = {"first paint": paint / 1000, "transcripts shown": ready / 1000, "until then, CPU": opened.cpu()}
            word = opened.run("document.querySelector('#entries dd.text').textContent.split(' ')[5]").strip(".")
            for what, field, value in (
                ("filter by outcome", "outcome", "unsafe"),
                ("and by family", "family", "alias"),
                ("all outcomes", "outcome", ""),
                ("search for a word", "text", word),
                ("search for two words", "text", f"{word} {word[:2]}"),
            ):
                chosen = choose(opened, field, value)
                seconds[what], seconds[f"{what}, CPU"] = chosen.frame, chosen.cpu
                seconds[f"{what}, all texts"] = chosen.texts
            seconds["heap"] = opened.heap() / 1e6
            for name, value in seconds.items():
                figures.setdefault(name, []).append(value)
    return figures


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder to keep the page in")
    parser.add_argument("--kept", type=Path, help="folder of such a page, to be measured instead of a new one")
    args = parser.parse_args()
    result = Result("page")
    with tempfile.TemporaryDirectory() as temporary:
        path = (args.kept or args.keep or Path(temporary)) / "report.html"
        made = [] if args.kept else make(path, args.rows)
        figures = measure(path, args.repeats)
        beside = [file.stat().st_size for file in texts_beside(path).iterdir()]
        size = path.stat().st_size
    goals = {"first paint": FIRST_VIEW, "transcripts shown": FIRST_VIEW, "heap": HEAP}
    goals |= {
        name: FILTER for name in figures if name.startswith(("filter", "and", "all", "search")) and "," not in name
    }
    for name, values in figures.items():
        result.rows.append(at_most(name, "MB" if name == "heap" else "s", values, goals.get(name)))
    result.rows.append(at_most("size of the page", "MB", [size / 1e6], None))
    result.rows.append(at_most("size of the folder beside it", "MB", [sum(beside) / 1e6], None))
    result.rows += made
    result.notes.append(f"{len(beside):,} files lie beside the page")
    result.print()


if __name__ == "__main__":
    main()
