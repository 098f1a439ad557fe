"""What is shared holds hashes, lengths and labels in the place of texts, and no folder of a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench.invented import make_report, with_transcript

from sinternal.figures.without_texts import LONG, left_out, settings_without_texts, study_without_texts, without_paths
from sinternal.report.markdown import render_markdown
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from tests.report.test_study_page import unpacked

CANARY = "the canary sings in this text"


def test_of_a_text_its_length_and_the_beginning_of_its_hash_stay() -> None:
    assert left_out("a" * 1_204) == (
        f"[text left out: 1,204 characters, sha256 {hashlib.sha256(b'a' * 1_204).hexdigest()[:16]}]"
    )
    assert left_out("half \ud83d") != left_out("half \ud83e")


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
    shown = settings_without_texts(settings)
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
    shared = study_without_texts(data, ["answers: 3 of 9 calls failed (3: reasons are left out)"])
    page = render_html(shared)
    columns = unpacked(page)
    told = "\n".join([page, render_markdown(shared), json.dumps(to_json(shared)), json.dumps(columns)])
    for canary in (CANARY, "/home/jane", "secret", data.transcripts[-1].prompt):  # type: ignore[index]
        assert canary not in told
    assert columns["prompt"][0] == left_out(CANARY)
    assert columns["outcome"] == unpacked(render_html(data))["outcome"]
    assert "texts were left out of this copy" in page
    assert "texts were left out" not in render_html(data)
