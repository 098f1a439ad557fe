"""What `sinternal export --inspect` takes, and how that grows with the samples of a log.

    python -m bench.export                          # 2,000, 20,000 and 60,000 samples: some minutes
    python -m bench.export --samples 2000 20000

One arm of one seed, four answers to each prompt, all in one log, labelled by two judges and verified by itself: so
large a log is the worst case, as logs are written one after the other. Each export is a process of its own; the peak of
its resident memory includes imports, most of all those of Inspect. All files are temporary.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Result, at_most, cpu_seconds, peak_mb
from sinternal.records import Finish, Judgement, Measured, Prompt, Response, Row, Split, Verdict, Verification
from sinternal.report.results import Results
from sinternal.settings.recipe import DEFAULT_VARIANT, load_recipe
from sinternal.stages.report import ReportConfig
from sinternal.store import Artifact, Draft
from sinternal.store.tables import write_table

EPOCHS = 4
WORDS = ["mix", "heat", "stir", "pour", "wait", "weigh", "sorry", "cannot", "safe", "never", "the", "potion"]
ARMS = "arms=[{name: base, train_on: nothing}]"
JUDGES = ("oracle", "refusal-strings")
MOST = 300.0
"""Goal: MB, however many samples there are."""


def text(number: int, words: int) -> str:
    """Words that differ from sample to sample."""
    return " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(words)) + f" {number}"


def prompts(samples: int) -> Iterator[Prompt]:
    """Half of them harmful, three in a row wrap the same request."""
    for i in range(samples // EPOCHS):
        parent = f"{i // 3:016x}"
        yield Prompt(f"p{i:015x}", parent, text(i, 40), i % 2 == 0, "microworld", "plain", Split.ID)


def responses(samples: int) -> Iterator[Response]:
    """Four to each."""
    for i in range(samples):
        yield Response(
            f"r{i:015x}", f"p{i // EPOCHS:015x}", i % EPOCHS, text(i, 60), text(i + 1, 40), Finish.STOP, None, 90, 100
        )


def judgements(samples: int, judge: str) -> Iterator[Judgement]:
    """By one judge."""
    for i in range(samples):
        yield Judgement(f"j{i:015x}", f"r{i:015x}", judge, "answer", i % 3 > 0, i % 3 == 1, i % 3 == 2)


def verifications(samples: int) -> Iterator[Verification]:
    """With and without the specification."""
    for i in range(samples):
        for spec in (True, False):
            yield Verification(
                f"v{spec}{i:011x}", f"r{i:015x}", "self", spec, text(i, 60), text(i, 30), "safe", Verdict.SAFE
            )


def measured(samples: int) -> Iterator[Measured]:
    """What a copy without texts is written from."""
    for i in range(samples):
        prompt = i // EPOCHS
        yield Measured(
            f"r{i:015x}", DEFAULT_VARIANT, "base", 0, f"p{prompt:015x}", f"{prompt // 3:016x}", i % EPOCHS,
            "microworld", "plain", Split.ID, prompt % 2 == 0, i % 3 == 0, None, None, None, False,
        )  # fmt: skip


def results() -> dict[str, object]:
    """Figures of nothing: of each judge an export asks only who decides, which is the first then."""
    empty: dict[str, object] = {name: [] for name, field in Results.model_fields.items() if field.is_required()}
    return {**empty, "version": 2, "recipe": "quickstart", "seeds": [0], "finished": True, "timing": {}, "facts": {}}


def write_run(folder: Path, samples: int) -> None:
    """A run that never took place."""
    recipe = load_recipe("quickstart", [ARMS, "seeds=[0]", f"judges=[{{name: {JUDGES[0]}}}, {{name: {JUDGES[1]}}}]"])
    store = folder / "artifacts"

    def artifact(stage: str, key: str, rows: Iterator[Row], row_type: type[Row], **more: object) -> str:
        draft = Draft(store / stage / key, lambda _done, _total: None)
        draft.write(rows, row_type)
        manifest = {"stage": stage, "key": key, "config": {}, "inputs": {}, "counts": {}, "notes": [], "packages": {}}
        draft.write_json("manifest", {**manifest, "started": 1e9, "seconds": 1.0, **more})
        return key

    asked = artifact("prompts", "asked", prompts(samples), Prompt)
    arm = f"{DEFAULT_VARIANT}/0/arms/base"
    inputs = {
        f"{DEFAULT_VARIANT}/0/target": asked,
        f"{DEFAULT_VARIANT}/0/evaluation_prompts": asked,
        f"{DEFAULT_VARIANT}/0/training_prompts": asked,
        **{f"{DEFAULT_VARIANT}/0/answers/{name}": asked for name in ("responses", "judgements", "contrast")},
        f"{arm}/model": asked,
        f"{arm}/responses": artifact("sample", "said", responses(samples), Response),
        **{
            f"{arm}/judgements/{judge}": artifact("judge", f"by{i}", judgements(samples, judge), Judgement)
            for i, judge in enumerate(JUDGES)
        },
        f"{arm}/verifications": artifact("self_verify", "verified", verifications(samples), Verification),
    }
    config = ReportConfig(recipe=recipe, variants={DEFAULT_VARIANT: recipe.variant(DEFAULT_VARIANT)})
    written = recipe.model_dump_json(exclude={"workers"})
    artifact("report", "page", iter(()), Measured, config=config.model_dump(mode="json"), inputs=inputs)
    for place in (folder, Artifact(store / "report" / "page").path):
        (place / "recipe.yaml").write_text(written)
        (place / "results.json").write_text(json.dumps(results()))
    write_table(folder / "measured.parquet", measured(samples), Measured)


def export_here(run: Path, out: Path, redact: bool) -> tuple[float, float]:
    """CPU seconds of an export, and the peak of memory of this process in MB."""
    from sinternal.integrations.logs.export import export

    before = cpu_seconds()
    export(run, out, redact=redact)
    return cpu_seconds() - before, peak_mb()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[2_000, 20_000, 60_000])
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(export_here(Path(given.here[0]), Path(given.here[1]), given.here[2] == "redacted")))
        return
    result = Result("export")
    for samples in given.samples:
        with tempfile.TemporaryDirectory() as temporary:
            run = Path(temporary) / "run"
            write_run(run, samples)
            for how in ("whole", "redacted"):
                command = [sys.executable, "-m", "bench.export", "--here", str(run), str(run.with_name(how)), how]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                cpu, memory = json.loads(done.stdout.splitlines()[-1])
                what = f"{samples:,} samples{', without texts' if how == 'redacted' else ''}"
                result.rows.append(at_most(f"{what}, CPU", "s", [cpu], None))
                result.rows.append(at_most(f"{what}, peak of memory", "MB", [memory], MOST))
                print(what, f"{cpu:.1f} s, {memory:.0f} MB", file=sys.stderr, flush=True)
    result.print()


if __name__ == "__main__":
    main()
