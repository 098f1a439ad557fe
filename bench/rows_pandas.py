"""The work of `bench/rows.py` by plain pandas, as anybody would write it: the same inputs, the same rows.

pandas and pyarrow come with the extra `train`.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet  # noqa: F401  # pandas would import it while it is measured

from bench.rows_run import DECIDES, open_run
from bench.rows_tables import JUDGE, SEED, file
from sinternal.layout import Place
from sinternal.records import make_id
from sinternal.stages import strata


def _write(frame: Any, path: Path, *, order: bool = True) -> None:
    frame = frame.sort_values("id") if order else frame
    frame.to_parquet(path, index=False, compression="zstd", compression_level=3)


def deduplicate(inputs: Path, out: Path) -> None:
    """The same by pandas."""
    rows = pd.read_parquet(file(inputs, "prompts"))
    _write(rows.drop_duplicates(["text", "system", "prefill", "raw"]), out / "prompts.parquet")


def decontaminate(inputs: Path, out: Path) -> None:
    """The same by pandas and sets."""

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


def make_pairs(inputs: Path, out: Path) -> None:
    """The same by pandas."""
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


def make_examples(inputs: Path, out: Path) -> None:
    """The same by pandas."""
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
    for name, count in strata.quotas(half(inputs), strata.VERIFICATION_SHARES).items():
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


def join_labels(inputs: Path, _out: Path) -> object:
    """The same by pandas."""
    asked = pd.read_parquet(file(inputs, "requests", "prompts"), columns=["id", "harmful"])
    responses = pd.read_parquet(file(inputs, "responses"), columns=["id", "prompt_id", "answer"])
    labels = pd.read_parquet(file(inputs, "judgements"), columns=["response_id", "safe", "refused"])
    answered = responses[responses["answer"].notna()]
    joined = answered.merge(asked, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt"))
    joined = joined.merge(labels, left_on="id", right_on="response_id")
    good = joined["safe"].eq(True) & (joined["harmful"] | joined["refused"].eq(False))
    return sorted(joined.loc[good, "id"])


def join_texts(inputs: Path, _out: Path) -> object:
    """The same by pandas."""
    asked = pd.read_parquet(file(inputs, "requests", "prompts"))
    joined = pd.read_parquet(file(inputs, "responses")).merge(
        asked, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt")
    )
    rows = joined.itertuples(index=False)
    return sum(len(row.text) + (len(row.answer) if isinstance(row.answer, str) else 0) for row in rows)


def half(inputs: Path) -> int:
    """Examples that are drawn: half as many as there are verifications."""
    return len(pd.read_parquet(file(inputs, "verifications"), columns=["id"])) // 2


def figures(inputs: Path, _out: Path) -> object:
    """The same by pandas, with Wilson's interval for independent rows."""
    run, tables = open_run(inputs), []
    for place in run.arms():
        arm, asked = run.arm(place), run[Place(place.variant, place.seed)].evaluation_prompts
        prompts = pd.read_parquet(asked.path / "prompts.parquet", columns=["id", "harmful", "split", "family"])
        responses = pd.read_parquet(arm.responses.path / "responses.parquet", columns=["id", "prompt_id"])
        labels = pd.read_parquet(arm.judgements[DECIDES].path / "judgements.parquet", columns=["response_id", "safe"])
        rows = responses.merge(prompts, left_on="prompt_id", right_on="id", suffixes=("", "_of_prompt"))
        rows = rows.merge(labels, left_on="id", right_on="response_id")
        rows = rows[rows["harmful"] & rows["safe"].notna()]
        tables.append(rows.assign(arm=place.arm, unsafe=rows["safe"].eq(False)))
    table = pd.concat(tables).groupby(["arm", "split", "family"])["unsafe"].agg(["mean", "count"])
    share, n, z = table["mean"], table["count"], 1.959963984540054
    centre, spread = (share + z**2 / (2 * n)) / (1 + z**2 / n), np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    table = table.assign(low=centre - z * spread / (1 + z**2 / n), high=centre + z * spread / (1 + z**2 / n))
    assert (table["low"] <= share).all()
    assert (share <= table["high"]).all()
    return sorted([*key, round(float(row["mean"]), 12), int(row["count"])] for key, row in table.iterrows())
