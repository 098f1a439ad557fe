"""How fast, and in how much memory, stages map rows, beside a plain pandas script on the same work.

    python bench/rows.py                            # 10,000 rows: a minute
    python bench/rows.py --rows 10000 100000        # some minutes
    python bench/rows.py --rows 1000000 --repeats 1 # a quarter of an hour, and 20 GB of memory for pandas

Each line of the table is one piece of work at one size: CPU seconds (all threads, without imports) and the peak of
resident memory (with them), of the package's own functions and of the script, each in a process of its own, by turns;
median and spread of the repeats. Both write the same rows: their ids are compared. Rows are harmless words, about 500
characters each. All files are temporary. The last line is JSON.

pandas and pyarrow come with the extra `train`.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from sinternal.records import (
    Finish,
    Judgement,
    Prompt,
    Response,
    Split,
    Verdict,
    Verification,
    make_id,
)
from sinternal.stages import contrast, examples, overlap, prompts, strata
from sinternal.stages.judge import with_prompts
from sinternal.store import Artifact, Draft, Lookup, Store
from sinternal.training import lengths

SAMPLES = 4
"""Responses to each prompt."""
WORDS = 80
"""Words of a text."""
JUDGE = "bench"
OURS, PANDAS = "package", "pandas"
SEED = 0


class Measurement(NamedTuple):
    """One process."""

    cpu: float
    """Seconds of CPU."""
    memory: float
    """Peak of resident memory, in MB."""
    result: str
    """Hash of what came out."""


class Work(NamedTuple):
    """One piece of work, done twice."""

    ours: Callable[[Path, Path], object]
    """By the package: from a folder of inputs into an empty one; returns what is compared if no table is written."""
    pandas: Callable[[Path, Path], object]
    """By the script."""


# Inputs


def write_inputs(folder: Path, number: int) -> None:
    """Write the artifacts that all work starts from, with `number` rows in the tables that are mapped."""
    store = Store(folder)
    tables: dict[str, Callable[[], Iterator[Any]]] = {
        "prompts": lambda: _prompts(number, copies=5),
        "evaluation": lambda: _prompts(max(1, number // 10), first=number - number // 100),
        "requests": lambda: _prompts(number // SAMPLES),
        "responses": lambda: _responses(number),
        "judgements": lambda: map(_judgement, range(number)),
        "verifications": lambda: _verifications(number),
    }
    types = {"prompts": Prompt, "evaluation": Prompt, "requests": Prompt, "responses": Response}
    types |= {"judgements": Judgement, "verifications": Verification}
    for name, rows in tables.items():
        row_type: Any = types[name]
        store.make(
            name,
            "inputs",
            lambda draft, rows=rows, row_type=row_type: draft.write_sorted(rows(), row_type),
            stage_version=1,
            config={},
            inputs={},
            progress=lambda *_: None,
        )


def _texts(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 8))) for _ in range(5000)]
    while True:
        yield " ".join(rng.choices(words, k=WORDS))


def _prompts(number: int, *, first: int = 0, copies: int | None = None) -> Iterator[Prompt]:
    """Prompts, of which each so many repeats the text of the one before it; texts from `first` on."""
    text = ""
    for place, new in zip(range(first, first + number), _texts(SEED + first), strict=False):
        if first and place == first:
            text = " ".join(next(_texts(SEED)).split()[:40])  # overlaps with a prompt that is trained on
        elif not copies or place % copies:
            text = new
        identity = make_id("prompt", place)
        yield Prompt(identity, identity, text, place % 2 == 0, JUDGE, "plain", Split.TRAIN)


def _response_id(place: int) -> str:
    return make_id("response", place)


def _responses(number: int) -> Iterator[Response]:
    for place, text in zip(range(number), _texts(SEED + 1), strict=False):
        cut = place % 17 == 0
        yield Response(
            _response_id(place),
            make_id("prompt", place // SAMPLES),
            place % SAMPLES,
            "so" if cut else None,
            None if cut else text,
            Finish.LENGTH if cut else Finish.STOP,
            tokens=WORDS,
        )


def _judgement(place: int) -> Judgement:
    safe = None if place % 101 == 0 else place % 3 > 0
    return Judgement(make_id("label", place), _response_id(place), JUDGE, "answer", safe, refused=place % 7 == 0)


def _verifications(number: int) -> Iterator[Verification]:
    for place, text in zip(range(number), _texts(SEED + 2), strict=False):
        verdict = Verdict.SAFE if place % 3 else Verdict.UNSAFE
        yield Verification(
            make_id("verification", place),
            _response_id(place),
            JUDGE,
            True,
            text[:200],
            text[200:],
            f"Verdict: {verdict}",
            verdict,
            label=verdict,
            dropped="unreadable" if place % 13 == 0 else None,
        )


def artifact(folder: Path, name: str) -> Artifact:
    """One of the inputs."""
    return Artifact(folder / name / "inputs")


def file(folder: Path, name: str, table: str | None = None) -> Path:
    """The table of one of the inputs."""
    return folder / name / "inputs" / f"{table or name}.parquet"


# The package


def draft(out: Path) -> Draft:
    """Where a stage writes."""
    return Draft(out, lambda *_: None)


def deduplicate(inputs: Path, out: Path) -> None:
    """The first of all prompts with one text."""
    rows = artifact(inputs, "prompts").table(Prompt)
    draft(out).select(rows, prompts.first_of_each(rows))


def decontaminate(inputs: Path, out: Path) -> None:
    """Prompts that share no 13 words with evaluation prompts."""
    rows, measured = (artifact(inputs, name).table(Prompt) for name in ("prompts", "evaluation"))
    draft(out).select(rows, ~overlap.overlapping(prompts.texts_of(rows), prompts.texts_of(measured)))


def make_pairs(inputs: Path, out: Path) -> None:
    """Contrast pairs of answers."""
    contrast.contrast(
        draft(out),
        contrast.ContrastConfig(judge=JUDGE, seed=SEED),
        prompts=artifact(inputs, "requests"),
        responses=artifact(inputs, "responses"),
        judgements=artifact(inputs, "judgements"),
    )


def make_examples(inputs: Path, out: Path) -> None:
    """A balanced training set of verifications; tokens are words, since a tokenizer would take all the time."""
    lengths.loss_tokens = lambda _model, rows: [len(row.thinking.split()) for row in rows]
    responses = artifact(inputs, "responses")
    examples.examples(
        draft(out),
        examples.ExamplesConfig(size=_size(inputs), seed=SEED),
        prompts=artifact(inputs, "requests"),
        responses=responses,
        verifications=artifact(inputs, "verifications"),
        model=responses,
    )


def _size(inputs: Path) -> int:
    return artifact(inputs, "verifications").counts["verifications"] // 2


def join_labels(inputs: Path, out: Path) -> object:
    """The responses that are acceptable by their labels and their prompts."""
    harmful = dict(artifact(inputs, "requests").values(Prompt, "id", "harmful"))
    labels, responses = artifact(inputs, "judgements"), artifact(inputs, "responses").table(Response)
    return sorted(examples.acceptable(draft(out), harmful, responses, labels, labels))


def join_texts(inputs: Path, _out: Path) -> object:
    """Each response and its prompt, as a judge is given them, one after the other."""
    requests, responses = (artifact(inputs, "requests").table(Prompt), artifact(inputs, "responses").table(Response))
    pairs = with_prompts(responses, Lookup(requests), lambda _: True)
    return sum(len(prompt.text) + len(response.answer or "") for prompt, response in pairs)


# The script


def _write(frame: Any, path: Path, *, order: bool = True) -> None:
    frame = frame.sort_values("id") if order else frame
    frame.to_parquet(path, index=False, compression="zstd", compression_level=3)


def pandas_deduplicate(inputs: Path, out: Path) -> None:
    """The same by pandas."""
    import pandas as pd

    rows = pd.read_parquet(file(inputs, "prompts"))
    _write(rows.drop_duplicates(["text", "system", "prefill", "raw"]), out / "prompts.parquet")


def pandas_decontaminate(inputs: Path, out: Path) -> None:
    """The same by pandas and sets."""
    import pandas as pd

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower()) or [text.strip()]
        return {tuple(words[i : i + 13]) for i in range(max(1, len(words) - 12))}

    rows = pd.read_parquet(file(inputs, "prompts"))
    measured = pd.read_parquet(file(inputs, "evaluation", "prompts"), columns=["text", "goal"])
    seen: set[tuple[str, ...]] = set()
    for text, goal in zip(measured["text"], measured["goal"], strict=True):
        seen |= grams(text) | (grams(goal) if goal else set())
    keep = [
        seen.isdisjoint(grams(text) | (grams(goal) if goal else set()))
        for text, goal in zip(rows["text"], rows["goal"], strict=True)
    ]
    _write(rows[keep], out / "prompts.parquet")


def pandas_pairs(inputs: Path, out: Path) -> None:
    """The same by pandas."""
    import pandas as pd

    asked = pd.read_parquet(file(inputs, "requests", "prompts"), columns=["id", "harmful"])
    responses = pd.read_parquet(file(inputs, "responses"))
    labels = pd.read_parquet(file(inputs, "judgements"))
    labels = labels[labels["judge"] == JUDGE]
    joined = responses.merge(labels[["response_id", "safe"]], left_on="id", right_on="response_id")
    joined = joined[(joined["finish"] == "stop") & joined["answer"].notna() & joined["safe"].notna()]
    answers = defaultdict(list)
    for identity, prompt_id, safe in zip(joined["id"], joined["prompt_id"], joined["safe"], strict=True):
        answers[prompt_id].append((identity, safe))
    rng = random.Random(SEED)
    kept = []
    for prompt_id, harmful in zip(asked["id"], asked["harmful"], strict=True):
        if not (own := answers.get(prompt_id)):
            continue
        if not harmful:
            kept.append(rng.choice(own)[0])
            continue
        good, bad = ([identity for identity, safe in own if bool(safe) is side] for side in (True, False))
        if good and bad:
            kept += [rng.choice(bad), rng.choice(good)]
    _write(responses[responses["id"].isin(kept)], out / "responses.parquet")
    _write(labels[labels["response_id"].isin(kept)], out / "judgements.parquet")


def pandas_examples(inputs: Path, out: Path) -> None:
    """The same by pandas."""
    import pandas as pd

    asked = pd.read_parquet(file(inputs, "requests", "prompts"), columns=["id", "harmful"])
    responses = pd.read_parquet(file(inputs, "responses"), columns=["id", "prompt_id"])
    rows = pd.read_parquet(file(inputs, "verifications"))
    rows = rows[rows["dropped"].isna()]
    rows = rows.merge(responses, left_on="response_id", right_on="id", suffixes=("", "_of_response"))
    rows = rows.merge(asked, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt"))
    rows["stratum"] = "benign"
    rows.loc[rows["harmful"], "stratum"] = "safe"
    rows.loc[rows["verdict"] == "unsafe", "stratum"] = "unsafe"
    rows["verification"] = rows["id"]
    rows["example"] = [make_id("example", identity) for identity in rows["id"]]
    rows["turn"] = [make_id("turn", SEED, identity) for identity in rows["prompt_id"]]
    rows = rows.sort_values(["turn", "example"])
    drawn = []
    for name, count in strata.quotas(_size(inputs), strata.VERIFICATION_SHARES).items():
        pool = rows[rows["stratum"] == name].head(count)
        repeated = pool.iloc[[i % len(pool) for i in range(count)]]
        repetitions = [i // len(pool) for i in range(count)]
        ids = [make_id("example", *pair) for pair in zip(repeated["example"], repetitions, strict=True)]
        drawn.append(repeated.assign(id=ids))
    order = list(range(sum(map(len, drawn))))
    random.Random(SEED).shuffle(order)
    made = pd.concat(drawn).iloc[order]
    made = pd.DataFrame(
        {
            "id": made["id"],
            "prompt": made["prompt"],
            "thinking": made["critique"].fillna(""),
            "answer": made["answer"].fillna(""),
            "stratum": made["stratum"],
            "prompt_id": made["prompt_id"],
            "response_id": made["response_id"],
            "verification_id": made["verification"],
            "system": "",
            "quotes": True,
        }
    )
    _write(made, out / "examples.parquet", order=False)
    exposure = [made["prompt_id"].nunique(), len(made), sum(len(text.split()) for text in made["thinking"])]
    (out / "exposure.json").write_text(json.dumps(exposure))


def pandas_labels(inputs: Path, _out: Path) -> object:
    """The same by pandas."""
    import pandas as pd

    asked = pd.read_parquet(file(inputs, "requests", "prompts"), columns=["id", "harmful"])
    responses = pd.read_parquet(file(inputs, "responses"), columns=["id", "prompt_id", "answer"])
    labels = pd.read_parquet(file(inputs, "judgements"), columns=["response_id", "safe", "refused"])
    answered = responses[responses["answer"].notna()]
    joined = answered.merge(asked, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt"))
    joined = joined.merge(labels, left_on="id", right_on="response_id")
    good = joined["safe"].eq(True) & (joined["harmful"] | joined["refused"].eq(False))
    return sorted(joined.loc[good, "id"])


def pandas_texts(inputs: Path, _out: Path) -> object:
    """The same by pandas."""
    import pandas as pd

    asked = pd.read_parquet(file(inputs, "requests", "prompts"))
    joined = pd.read_parquet(file(inputs, "responses")).merge(
        asked, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt")
    )
    rows = joined.itertuples(index=False)
    return sum(len(row.text) + (len(row.answer) if isinstance(row.answer, str) else 0) for row in rows)


WORKS = {
    "deduplicate": Work(deduplicate, pandas_deduplicate),
    "decontaminate": Work(decontaminate, pandas_decontaminate),
    "contrast": Work(make_pairs, pandas_pairs),
    "examples": Work(make_examples, pandas_examples),
    "judge-join": Work(join_labels, pandas_labels),
    "judge-texts": Work(join_texts, pandas_texts),
    # Figures of responses and labels come here: from the inputs `requests`, `responses`, `judgements`, `verifications`.
}


# Measuring


def measure_here(work: str, side: str, inputs: Path) -> Measurement:
    """Do a piece of work in this process."""
    if side == PANDAS:
        import pandas as pd
        import pyarrow.parquet as pq

        assert pd
        assert pq
    function = WORKS[work].pandas if side == PANDAS else WORKS[work].ours
    with tempfile.TemporaryDirectory() as out:
        gc.collect()
        before = _cpu()
        made = function(inputs, Path(out))
        cpu = _cpu() - before
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ids = [_ids(path) for path in sorted(Path(out).glob("*.parquet"))]
        return Measurement(cpu, memory, hashlib.sha256(repr((made, ids)).encode()).hexdigest()[:16])


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _ids(path: Path) -> str:
    from sinternal.parquet import read_batches

    ids = hashlib.sha256()
    for batch in read_batches(path):
        ids.update(json.dumps(batch.column("id").to_pylist()).encode())
    return ids.hexdigest()


def measure(work: str, side: str, inputs: Path) -> Measurement:
    """Do a piece of work in a process of its own."""
    command = [sys.executable, __file__, "--here", work, side, str(inputs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return Measurement(*json.loads(output.splitlines()[-1]))


class Line(NamedTuple):
    """One line of the table."""

    work: str
    rows: int
    ours: list[Measurement]
    pandas: list[Measurement]


def bench(works: Iterable[str], number: int, repeats: int) -> Iterator[Line]:
    """Measure all work at one size, by turns."""
    with tempfile.TemporaryDirectory(prefix="rows-") as folder:
        inputs = Path(folder)
        subprocess.run([sys.executable, __file__, "--write", str(number), folder], check=True)
        for work in works:
            turns = [(measure(work, OURS, inputs), measure(work, PANDAS, inputs)) for _ in range(repeats)]
            ours, script = ([turn[side] for turn in turns] for side in (0, 1))
            assert len({each.result for each in (*ours, *script)}) == 1, f"{work}: the two sides differ"
            yield Line(work, number, ours, script)


def _show(values: list[float], digits: int) -> str:
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{median(values):.{digits}f}{spread}"


def _as_json(line: Line) -> dict[str, object]:
    sides = {"package": line.ours, "pandas": line.pandas}
    return {"work": line.work, "rows": line.rows} | {
        name: {"cpu_s": [each.cpu for each in side], "peak_mb": [each.memory for each in side]}
        for name, side in sides.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        work, side, inputs = arguments.here
        print(json.dumps(measure_here(work, side, Path(inputs))))
        return
    if arguments.write:
        number, inputs = arguments.write
        write_inputs(Path(inputs), int(number))
        return
    print("| work | rows | CPU s, package | CPU s, pandas | pandas / package | MB, package | MB, pandas |")
    print("|---|---|---|---|---|---|---|")
    lines = []
    for number in arguments.rows:
        for line in bench(arguments.only, number, arguments.repeats):
            lines.append(line)
            ratio = median(a.cpu for a in line.pandas) / median(a.cpu for a in line.ours)
            cells = [_show([each.cpu for each in side], 2) for side in (line.ours, line.pandas)]
            cells += [f"{ratio:.2f}"] + [_show([each.memory for each in side], 0) for side in (line.ours, line.pandas)]
            print(f"| {line.work} | {line.rows:,} | {' | '.join(cells)} |", flush=True)
    print(json.dumps(list(map(_as_json, lines))))


if __name__ == "__main__":
    main()
