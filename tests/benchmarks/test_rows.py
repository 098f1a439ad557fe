"""Files of a user's own are read as they are meant, or refused by their place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sinternal.benchmarks.rows import Conversation, Row, read_rows
from sinternal.errors import DataError

ROWS = [{"prompt": "mend a\u2028bicycle", "n": "1"}, {"prompt": 'say "hi",\nand go\x85on', "n": "2"}]


def json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))


def json_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=1))


def separated(delimiter: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([["prompt", "n"], *(row.values() for row in ROWS)])

    return write


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


WRITERS = {"jsonl": json_lines, "json": json_list, "csv": separated(","), "tsv": separated("\t"), "parquet": parquet}


@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("ending", [*WRITERS, "CSV"])
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str, bom: bool) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending.lower()](path)
    if bom and ending != "parquet":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [{name: row.text(name) for name in row.values} for row in read_rows(path)] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"p": "x", "p": "y"}', "line 1: not valid JSON: the key 'p' comes twice"),
        ("a.jsonl", b'{"p": "x"}\n{"p": NaN}', "line 2: not valid JSON: NaN is not a number in JSON"),
        ("a.jsonl", b'{"p": "x"}\n\n"y"', "line 3: a JSON object is expected, with one key a column; this is text"),
        ("a.jsonl", b'{"p": "\xff"}', "line 1: not UTF-8 (invalid start byte at byte 7)"),
        ("a.jsonl", b'{"p": ' + b"[" * 100_000, "line 1: not valid JSON: nested too deeply"),
        ("a.jsonl", b'{"p": ' + b"9" * 5000 + b"}", "line 1: not valid JSON: Exceeds the limit"),
        ("a.json", b'{"p": "x"}', "a list of JSON objects is expected, one a row; this is an object"),
        ("a.json", b'[{"p": "x"}, ["y"]]', "entry 2: a JSON object is expected"),
        ("a.csv", b"p,p\nx,y\n", "line 1: several columns are called 'p'"),
        ("a.csv", b'p,q\n"x\ny",z\nx\n', "line 4: it has 1 columns, the first line 2"),
        ("a.csv", b'p\nx\n"y\nz\n', "not valid CSV: unexpected end of data"),
        ("a.csv", b"p\n\xe4\n", "not UTF-8"),
        ("a.tsv", b"p\tq\nx\n", "line 2: it has 1 columns, the first line 2"),
        ("a.parquet", b"PAR1", "not a valid Parquet file"),
        ("a.xlsx", b"", "a benchmark file ends in .jsonl, .json, .csv, .tsv, .parquet"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as told:
        list(read_rows(tmp_path / name))
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_columns_of_parquet_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"p": broken}), path)
    with pytest.raises(DataError, match=r"a\.parquet: not a valid Parquet file: .*non UTF-8 data"):
        list(read_rows(path))
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["p", "p"]), path)
    with pytest.raises(DataError, match="several columns are called 'p'"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "holds a number, not text"),
        (True, "holds true or false, not text"),
        (float("nan"), r"holds a number that is none \(NaN or infinity\), not text"),
        (b"x", "holds bytes, not text"),
        ({"a": 1}, "holds an object, not text"),
        (["x", "y"], "holds a list of text, not text"),
        ("half \ud83d", r"holds half of a character \(a lone surrogate\)"),
        ([{"role": "user", "content": "\ud83d"}], "holds half of a character"),
        ([], "a conversation of no messages"),
        ([{"from": "human", "value": "x"}], "a list of objects that are not messages"),
        ([{"role": "user", "content": None}], "a list of objects that are not messages"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], "a list of objects that are not messages"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "a list of objects that are not messages"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "a conversation of user, assistant; a prompt is one user message",
        ),
    ],
)
def test_what_is_no_request_is_refused_by_its_column(value: object, message: str) -> None:
    with pytest.raises(DataError, match=f"a, line 1: column 'p' .*{message}"):
        Row("a, line 1", {"p": value}).request("p")


MESSAGES: list[dict[str, Any]] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": " hi "}]


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (" hi ", Conversation("hi")),
        (MESSAGES[1:], Conversation("hi")),
        (MESSAGES, Conversation("hi", "be kind")),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}], "name": None}], Conversation("hi")),
    ],
)
def test_a_conversation_of_one_message_is_what_it_says(value: object, asked: Conversation) -> None:
    assert Row("a, line 1", {"p": value}).request("p") == asked


def test_a_cell_of_csv_may_spell_a_conversation_out_but_not_in_pythons_notation() -> None:
    def cell(text: str) -> Row:
        return Row("a, line 2", {"p": text}, all_text=True)

    assert cell(json.dumps(MESSAGES)).request("p") == Conversation("hi", "be kind")
    assert cell('[{"role" is no list').request("p") == Conversation('[{"role" is no list')
    assert Row("a, line 2", {"p": json.dumps(MESSAGES)}).request("p").text.startswith("[{"), "text where types are told"
    with pytest.raises(DataError, match="column 'p' holds a conversation in Python's notation"):
        cell(str(MESSAGES)).request("p")


@pytest.mark.parametrize(
    ("value", "label"), [(True, "true"), (7, "7"), (7.0, "7"), (0.5, "0.5"), (" x ", "x"), (None, ""), ("", "")]
)
def test_a_label_may_be_a_name_a_number_or_a_flag(value: object, label: str) -> None:
    assert Row("a, line 1", {"p": value}).label("p") == label


@pytest.mark.parametrize("value", [["x"], {"x": 1}, b"x", float("nan")])
def test_a_label_is_nothing_else(value: object) -> None:
    with pytest.raises(DataError, match=r"column 'p' holds .*, not a name or a number"):
        Row("a, line 1", {"p": value}).label("p")


@pytest.mark.parametrize(("sign", "named"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_file_whose_cells_are_parted_by_another_sign_says_so(sign: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f"prompt{sign}harmful\nHow do I draw a cat, quickly?{sign}no\n")
    with pytest.raises(DataError, match=f"seem to be parted by {named}, where commas are expected"):
        list(read_rows(file))
    (tmp_path / "one.csv").write_text("prompt\nHow do I draw a cat?\n")
    assert len(list(read_rows(tmp_path / "one.csv"))) == 1


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json"])
def test_a_file_in_utf_16_says_what_it_seems_to_be(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"mine{ending}"
    file.write_bytes('{"prompt": "a"}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8, it seems to be UTF-16"):
        list(read_rows(file))
