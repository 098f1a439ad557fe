"""What is shared holds hashes, lengths and labels in the place of texts, and no folder of a file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from bench.invented import make_report, with_transcript

from sinternal.figures.without_texts import (
    LONG,
    Hider,
    hider_of,
    settings_without_texts,
    study_without_texts,
    without_paths,
)
from sinternal.records import Measured, Split
from sinternal.report.markdown import render_markdown
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from tests.report.test_study_page import unpacked

CANARY = "the canary sings in this text"


HIDER = Hider(b"k" * 32)
left_out = HIDER.left_out


def test_of_a_text_its_length_stays_and_a_hash_that_nobody_can_make_without_the_key() -> None:
    text = "a" * 1_204
    assert re.fullmatch(r"\[text left out: 1,204 characters, keyed hash [0-9a-f]{16}\]", left_out(text))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] not in left_out(text)
    assert left_out(text) == Hider(b"k" * 32).left_out(text)
    assert left_out(text) != Hider().left_out(text) != Hider().left_out(text)
    assert left_out("half \ud83d") != left_out("half \ud83e")


def test_the_key_stays_in_the_runs_folder_for_its_owner_alone(tmp_path: Path) -> None:
    first = hider_of(tmp_path).left_out(CANARY)
    assert hider_of(tmp_path).left_out(CANARY) == first, "another copy of the same run can be laid beside it"
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_bytes()) == 32
    file.unlink()
    assert hider_of(tmp_path).left_out(CANARY) != first


def test_no_id_of_what_is_shared_tells_which_prompt_was_asked() -> None:
    data = make_report(prompts=4)
    rows = [Measured("i", "default", "base", 0, "p1", "p0", 0, "b", "plain", Split.ID, True, *[None] * 4, False)]
    shared = study_without_texts(replace(data, measured=rows), [], HIDER)
    (row,) = shared.measured
    assert (row.prompt_id, row.parent_id) == (HIDER.hash("p1"), HIDER.hash("p0"))
    ids = {row.prompt_id for row in data.transcripts}
    hidden = {row.prompt_id for row in shared.transcripts}
    assert len(hidden) == len(ids)
    assert not ids & hidden - {""}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/jane/models/base", "\u2026/base"),
        ("model /home/jane/base, judge /srv/x/y.txt", "model \u2026/base, judge \u2026/y.txt"),
        ("~/models/base", "\u2026/base"),
        ("C:\\Users\\jane\\base", "\u2026/base"),
        (f"{Path.home()}/models/base", "\u2026/base"),
        ("org/model, 3 tokens/s and/or 1 / 2", "org/model, 3 tokens/s and/or 1 / 2"),
        ("https://host/v1/chat", "https://host/v1/chat"),
        ("/x", "/x"),
    ],
)
def test_folders_of_files_are_left_out_and_names_stay(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_texts_for_models_in_settings_are_left_out_too() -> None:
    settings = {"target": {"system": CANARY, "model": "/home/jane/base"}, "name": "mine", "note": "x" * (LONG + 1)}
    shown = settings_without_texts(settings, HIDER)
    assert shown["target"] == {"system": left_out(CANARY), "model": "\u2026/base"}
    assert shown["name"] == "mine"
    assert shown["note"] == left_out("x" * (LONG + 1))


def test_no_page_of_a_study_without_texts_holds_one() -> None:
    data = with_transcript(make_report(prompts=4), CANARY)
    data = replace(
        data,
        calls=(f"answers: 3 of 9 calls failed (3: {CANARY})",),
        facts={**data.facts, "Target": "/home/jane/secret/base"},
        recipe_yaml=f"name: x\ntarget: {{system: {CANARY}, model: /home/jane/secret/base}}\n",
        variants=tuple(replace(one, overrides={"target.system": CANARY}) for one in data.variants),
    )
    shared = study_without_texts(data, ["answers: 3 of 9 calls failed (3: reasons are left out)"], HIDER)
    page = render_html(shared)
    columns = unpacked(page)
    told = "\n".join([page, render_markdown(shared), json.dumps(to_json(shared)), json.dumps(columns)])
    for canary in (CANARY, "/home/jane", "secret", data.transcripts[-1].prompt):  # type: ignore[index]
        assert canary not in told
    assert columns["prompt"][0] == left_out(CANARY)
    assert columns["outcome"] == unpacked(render_html(data))["outcome"]
    assert "texts were left out of this copy" in page
    assert "texts were left out" not in render_html(data)
