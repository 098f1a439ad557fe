"""The lines of a batch's files: whatever a server writes, each is counted once, and no reply goes astray."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinternal.engines.openai_batch_files import OK, read_answers, read_batch, read_page, write_line
from sinternal.engines.openai_replies import NonsenseError

WANTED = [f"{number:032x}" for number in range(6)]
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*WANTED, "a stranger's"])
REPLIES = st.builds(
    lambda name: {"custom_id": name, "response": {"status_code": 200, "body": {"choices": [name]}}, "error": None},
    NAMES,
)
ERRORS = st.builds(
    lambda name, status, error: {"custom_id": name, "response": {"status_code": status, "body": error}},
    NAMES,
    st.sampled_from([400, 401, 429, 500, "503", None]),
    ANY_JSON,
)
LATE = st.builds(lambda name: {"custom_id": name, "response": None, "error": {"code": "batch_expired"}}, NAMES)
ODD = st.builds(
    lambda name, response, error: {"custom_id": name, "response": response, "error": error}, NAMES, ANY_JSON, ANY_JSON
)
LINES = st.lists(
    st.one_of(
        st.builds(lambda row: json.dumps(row).encode(), st.one_of(REPLIES, ERRORS, LATE, ODD, ANY_JSON)),
        st.binary(max_size=20).map(lambda some: some.replace(b"\n", b"")),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(LINES, st.integers(0, 12), st.sampled_from([b"\n", b"\r\n"]))
def test_every_line_is_counted_once_and_a_reply_goes_to_the_request_that_it_names(
    lines: list[bytes], cut: int, end: bytes
) -> None:
    contents = [end.join(lines[:cut]), end.join(lines[cut:])]
    reading = read_answers(contents, WANTED)
    named = reading.answers.keys() | reading.left
    assert not reading.answers.keys() & reading.left
    assert named <= set(WANTED)
    all_lines = [line for line in lines if line.strip()]
    assert len(all_lines) == len(named) + reading.doubled + reading.unknown + reading.unreadable
    for name in WANTED:
        whole = json.dumps(
            {"custom_id": name, "response": {"status_code": 200, "body": {"choices": [name]}}, "error": None}
        )
        if whole.encode() in lines:
            assert reading.answers[name].status == OK, "a reply that is paid for is lost"
        answer = reading.answers.get(name)
        if answer and answer.status == OK and b"choices" in answer.body:
            assert json.loads(answer.body)["choices"] == [name]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "server_error", "message": "try again"}, 500),
        ({"message": "no words for it"}, 500),
        ("a text", 500),
        ({"code": "invalid_request_error", "message": "too long"}, 400),
        ({"code": "content_filter", "message": "blocked"}, 400),
        ({"code": 429, "status": 429, "message": "slow down"}, 429),
        ({"code": "x", "status_code": "403"}, 403),
    ],
)
def test_an_error_without_a_response_may_pass_unless_it_says_otherwise(error: Any, status: int) -> None:
    line = json.dumps({"custom_id": WANTED[0], "response": None, "error": error}).encode()
    assert read_answers([line], WANTED).answers[WANTED[0]].status == status


def test_a_hundred_thousand_brackets_cost_only_their_line() -> None:
    deep = b'{"custom_id": "' + WANTED[0].encode() + b'", "response": ' + b"[" * 100_000
    good = json.dumps({"custom_id": WANTED[1], "response": {"status_code": 200, "body": {"choices": []}}}).encode()
    reading = read_answers([deep + b"\n" + good], WANTED)
    assert (reading.unreadable, list(reading.answers)) == (1, [WANTED[1]])


def test_a_line_is_one_line_whatever_is_in_it_and_never_asks_for_pieces() -> None:
    body = {"messages": [{"content": "a\nb\u2028c\r"}], "stream": True, "stream_options": {}}
    text = write_line(WANTED[0], "/chat/completions", body)
    assert text.count(b"\n") == 1
    assert json.loads(text)["body"] == {"messages": body["messages"]}
    with pytest.raises(UnicodeEncodeError):
        write_line(WANTED[0], "/chat/completions", {"content": "half \ud83d"})


@given(st.one_of(ANY_JSON.map(lambda some: json.dumps(some).encode()), st.binary(max_size=20)))
@settings(max_examples=60)
def test_a_batch_that_is_none_is_nonsense_and_nothing_worse(content: bytes) -> None:
    for read in (read_batch, read_page):
        try:
            found = read(content)
        except NonsenseError as error:
            assert str(error)  # noqa: PT017  # the one error that is allowed says what is wrong
        else:
            assert found is not None


@pytest.mark.parametrize(
    ("said", "state", "done", "words"),
    [
        ({"id": "b", "status": "IN_PROGRESS", "progress": 75}, "in_progress", 0, ""),
        ({"job": {"id": "b", "status": "COMPLETED", "output_file_id": "o"}}, "completed", 0, ""),
        ({"id": "b", "status": "canceled", "request_counts": {"completed": 3, "failed": 2}}, "cancelled", 5, ""),
        ({"id": "b", "status": "failed", "errors": ["no such model"]}, "failed", 0, "no such model"),
        ({"id": "b", "status": "failed", "errors": {"data": [{"message": "bad", "line": 1}]}}, "failed", 0, "bad"),
        ({"id": "b", "status": "failed", "error": "out of money"}, "failed", 0, "out of money"),
    ],
)
def test_batches_of_every_make_are_read(said: Any, state: str, done: int, words: str) -> None:
    read = read_batch(json.dumps(said).encode())
    assert (read.id, read.state, read.done, read.words) == ("b", state, done, words)
