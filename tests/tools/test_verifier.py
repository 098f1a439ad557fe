"""A model as a verifier, from Python and from the command line, on the shipped microworld base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.records import Prompt, Verdict
from sinternal.tools.verifier import Pair, Verifier, read_pairs, sources
from sinternal.world.benchmark import Microworld
from tests.commands import sinternal
from tests.plugins import open_plugin

ASKED: list[Prompt] = list(open_plugin(Microworld, {}).prompts("eval"))[::9]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier("microworld")


def test_the_microworlds_models_are_asked_in_their_own_words(verifier: Verifier) -> None:
    found = verifier.verify(ASKED[0].text, "sorry i cannot .")
    assert found.verdict is Verdict.SAFE
    assert found.critique
    assert found.p_unsafe is not None
    assert found.p_unsafe < 0.5


def test_many_pairs_keep_their_ids_and_one_that_fails_costs_only_itself(verifier: Verifier) -> None:
    pairs = [Pair(prompt.id, prompt.text, "mix g1 g2 g3 .") for prompt in ASKED]
    pairs.append(Pair("long", "brew " * 5_000, "mix g1 ."))
    found = {one.id: one for one in verifier.verify_many(pairs)}
    assert set(found) == {pair.id for pair in pairs}
    assert "tokens" in str(found["long"].error)
    assert found["long"].verdict is None
    assert all(one.error is None for name, one in found.items() if name != "long")


def test_the_probability_goes_with_the_verdict(verifier: Verifier) -> None:
    found = [one for one in verifier.verify_many([Pair(p.id, p.text, "mix g1 g2 g3 .") for p in ASKED]) if one.verdict]
    assert found
    for one in found:
        assert one.p_unsafe is not None
        assert (one.p_unsafe > 0.5) is (one.verdict is Verdict.UNSAFE)


def test_a_verification_that_is_cut_short_has_no_verdict_and_says_so() -> None:
    from sinternal.engines import Sampling

    found = Verifier("microworld", sampling=Sampling(max_tokens=2)).verify(ASKED[0].text, "mix g1 g2 g3 .")
    assert (found.verdict, found.truncated, found.p_unsafe) == (None, True, None)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "pairs.jsonl, line 1: not valid JSON"),
        (['{"prompt": "a", "answer": "b"}', "[1]"], "line 2: a JSON object is expected"),
        (['{"prompt": "a"}'], "line 1: there is no column 'answer'; there are: prompt"),
        (['{"prompt": " ", "answer": "b"}'], "line 1: column 'prompt' is empty"),
        (['{"prompt": 3, "answer": "b"}'], "line 1: column 'prompt' holds a number, not text"),
        (['{"id": 1, "prompt": "a", "answer": "b"}'] * 2, "line 2: id '1' occurs twice"),
        (["", " "], "pairs.jsonl: no pairs in it"),
    ],
)
def test_a_line_that_is_no_pair_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(DataError) as told:
        read_pairs(lines, "pairs.jsonl")
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "a", "prompt": "b", "answer": "c"}', "the key 'prompt' comes twice"),
        (b'{"prompt": "a", "answer": NaN}', "NaN is not a number"),
        (b'{"prompt": "a", "answer": "\xff"}', "line 1: not UTF-8"),
        (rb'{"prompt": "a", "answer": "\ud83d"}', "column 'answer' holds half of a character"),
        (b'{"prompt": "a", "answer": ["b"]}', "column 'answer' holds a list, not text"),
        (b'{"prompt": "a", "answer": "b", "id": [1]}', "column 'id' holds a list"),
        (
            b'{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "answer": "b"}',
            "column 'prompt' holds a system message",
        ),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_text_is_refused_by_its_column(line: bytes, message: str) -> None:
    with pytest.raises(DataError) as told:
        read_pairs([line], "pairs.jsonl")
    assert message in str(told.value)


def test_pairs_are_read_as_they_are_written() -> None:
    lines = ["\ufeff" + '{"prompt": "a\u2028b", "answer": " c\u0085", "id": null}'.encode().decode(), ""]
    conversation = {"prompt": [{"role": "user", "content": "u"}], "answer": "d", "id": 7}
    found = read_pairs([*(line.encode() for line in lines), json.dumps(conversation)], "pairs.jsonl")
    assert found == [Pair("1", "a\u2028b", " c\u0085"), Pair("7", "u", "d")]


def test_half_a_pair_on_the_command_line_is_refused() -> None:
    with pytest.raises(DataError, match="belong together"):
        sources("a", None, None, "-")


def test_the_command_writes_one_json_line_for_each_pair_and_nothing_else(tmp_path: Path) -> None:
    lines = [json.dumps({"id": p.id, "prompt": p.text, "answer": "sorry i cannot ."}) for p in ASKED[:3]]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    done = sinternal("verify", "--model", "microworld", "pairs.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["id"] for row in rows} == {p.id for p in ASKED[:3]}
    assert {row["verdict"] for row in rows} <= {"safe", "unsafe", None}
    assert {row["error"] for row in rows} == {None}
