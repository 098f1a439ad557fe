"""All that reads, asks, keeps or shows text of others, with one string in the place of all of it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from sinternal.benchmarks.rows import READERS, json_rows, read_rows
from sinternal.cli.output import Terminal
from sinternal.engines import Completion, Request
from sinternal.engines.openai_replies import NonsenseError, RefusedError, read_refusal, read_reply
from sinternal.errors import SInternalError
from sinternal.experts import Demonstration
from sinternal.experts.chat import ChatExpert, read_critique, read_demonstration
from sinternal.judges.check_sentences import read_reply as read_sentences
from sinternal.judges.check_sentences import sentences
from sinternal.judges.guard import Guard
from sinternal.prompting.fence import break_up, safe_tags
from sinternal.prompting.question import SpecificationTask
from sinternal.prompting.think import KNOWN_TAGS, THINK, begun_thinking, opening_tag, read_verdict, split_thinking
from sinternal.records import Finish, Prompt, Response, Split, Subject
from sinternal.registry import Kind, load, names
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.tables import TextTable
from sinternal.settings.base import validate_settings
from sinternal.store.tables import read_table, write_table
from sinternal.tools.verifier import Verified, read_pairs, to_line
from sinternal.visible import whole_characters

ENGINE = {"engine": {"name": "openai", "model": "m", "options": {"base_url": "http://127.0.0.1:1"}}}
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""What no terminal may be sent of others' text."""
WORDS = ("safe", "unsafe")


def open_plugin(plugin: Any, options: Mapping[str, Any] | None = None) -> Any:
    """A plug-in as settings open it."""
    return plugin(validate_settings(plugin.Options, dict(options or {}), "options"))


@cache
def guards() -> tuple[Guard, ...]:
    """All judges that are models."""
    kinds = [load(Kind.JUDGE, name) for name in names(Kind.JUDGE)]
    return tuple(open_plugin(kind, ENGINE) for kind in kinds if isinstance(kind, type) and issubclass(kind, Guard))


@cache
def _task() -> SpecificationTask:
    opened: SpecificationTask = open_plugin(SpecificationTask)
    return opened


@cache
def _expert() -> ChatExpert:
    opened: ChatExpert = open_plugin(ChatExpert, ENGINE)
    return opened


def prompt_of(text: str) -> Prompt:
    """A prompt that is nothing but a string."""
    return Prompt("p", "p", text, True, "b", text[:60], Split.OOD, goal=text, category=text)


def requests(text: str) -> Iterator[Request]:
    """Each question in which a verifier, a judge or an expert is shown text of others, with a string in its place."""
    prompt = prompt_of(text)
    for guard in guards():
        yield from guard.ask_all(prompt, text)
    for subject in Subject:
        for with_spec in (True, False):
            asked = _task().ask(prompt, text, with_spec=with_spec, subject=subject, words=9)
            yield Request("", (("user", asked),), quotes=True)
    for kind in Demonstration:
        yield _expert()._demonstration_request(prompt, kind)


def labels(text: str) -> Iterator[tuple[str, object]]:
    """Each label that some reader takes from a string, as if it were a whole reply."""
    prompt = prompt_of("ask")
    if verdict := read_verdict(text):
        yield "verdict", verdict
    completion = Completion("r", 0, None, text, Finish.STOP)
    if (critique := read_critique(completion, WORDS)).answer:
        yield "critique", critique
    for guard in guards():
        if read := guard.read_all([text] * len(guard.ask_all(prompt, "a")), prompt):
            yield guard.name, read


def read_everything(text: str, folder: Path) -> None:
    """Give a string to every reader. Whatever is no error of ours is raised."""
    for tags in (KNOWN_TAGS, (THINK,), ()):
        for opened in (True, False):
            split_thinking(text, opened=opened, tags=tags)
    opening_tag(text)
    begun_thinking(text)
    list(labels(text))
    read_demonstration(Completion("r", 0, None, text, Finish.STOP))
    read_sentences(text, sentences("One. Two.", 0))
    sentences(text, 0)
    list(requests(text))
    break_up(text)
    raw = text.encode("utf-8", "surrogatepass")
    _refusing(lambda: read_pairs(raw.split(b"\n"), "pairs"))
    for spelled in _as_rows(text):
        _refusing(lambda spelled=spelled: read_pairs([spelled], "pairs"))  # type: ignore[misc]
        _refusing(lambda spelled=spelled: [row.request("prompt") for row in json_rows([spelled], "rows")])  # type: ignore[misc]
    for suffix in READERS:
        file = folder / f"rows{suffix}"
        file.write_bytes(raw)
        _refusing(lambda file=file: list(read_rows(file)))  # type: ignore[misc]
    for body in (raw, b"data: " + raw + b"\n\n", *_as_replies(text)):
        try:
            read_reply(body, chat=True).content.encode()
        except (NonsenseError, RefusedError) as error:
            _one_line(error)
        if not read_refusal(400, body).words.isprintable():
            raise ValueError("words of a server are printed as they are")


def _as_rows(text: str) -> Iterator[bytes]:
    values = {"prompt": text, "answer": text, "id": text}
    yield json.dumps(values).encode()
    yield json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _as_replies(text: str) -> Iterator[bytes]:
    message = {"content": text, "reasoning_content": text}
    yield json.dumps({"choices": [{"message": message, "finish_reason": text}]}).encode()
    yield json.dumps({"choices": [{"message": {"content": [{"type": "text", "text": text}]}}]}).encode()
    yield json.dumps({"error": {"message": text, "param": text, "code": text}}).encode()


def _refusing(read: Callable[[], object]) -> None:
    try:
        read()
    except SInternalError as error:
        _one_line(error)


def _one_line(error: Exception) -> None:
    if "\n" in str(error):
        raise ValueError(f"an error of several lines: {error!r}") from error


def lost_in_the_store(texts: Iterable[str], folder: Path) -> list[str]:
    """Strings that come back from a table as another one, but for halves of characters that are replaced."""
    rows = [Response(str(number), "p", 0, text, text, Finish.STOP, text) for number, text in enumerate(texts)]
    write_table(folder / "rows.parquet", rows, Response)
    back = read_table(folder / "rows.parquet", Response)
    return [
        str(row.answer)
        for row, kept in zip(rows, back, strict=True)
        if not kept.answer == kept.thinking == kept.error == whole_characters(str(row.answer))
    ]


def steered(texts: Iterable[str]) -> list[str]:
    """Strings of which something would steer a terminal, printed in each way that commands print."""
    found = []
    for text in texts:
        written = io.StringIO()
        console = Terminal(width=100, file=written)
        console.print(text, soft_wrap=True)
        console.print(f"{text[:99]}: {text[-99:]}")
        line = to_line(Verified(text, None, text, text, None, False, text))
        if STEERS.search(written.getvalue()) or STEERS.search(line) or json.loads(line)["said"] != text:
            found.append(text)
    return found


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable("table")


def broken_in_markdown(texts: Iterable[str]) -> list[str]:
    """Strings that break a table or a paragraph of Markdown, or open HTML, a link, an image or a block in it."""
    found = []
    for text in (text for text in texts if len(text) < 2_000):
        table = pipe_table(TextTable(["a", "b"], [[text, "1"], ["x", text]]))
        tokens = _markdown().parse(f"# Title\n\n{plain(text)} end\n\n{table}\n\n- {plain(text)}: 1\n\nlast\n")
        kinds = [token.type for token in tokens]
        inside = {child.type for token in tokens for child in token.children or ()}
        expected = (kinds.count("heading_open"), kinds.count("tr_open"), kinds.count("td_open"), kinds.count("th_open"))
        blocks = {"html_block", "fence", "code_block", "blockquote_open", "ordered_list_open", "hr"} & set(kinds)
        wrong = blocks or {"html_inline", "link_open", "image"} & inside
        if expected != (1, 3, 4, 2) or kinds.count("bullet_list_open") != 1 or wrong:
            found.append(text)
    return found


def tags_that_texts_hold(texts: Iterable[str]) -> list[str]:
    """Strings that close the tag which is chosen for them."""
    found = []
    for text in texts:
        for tag in safe_tags(("request", "answer"), (text,)):
            if re.search(rf"<\s*/?\s*{tag}\s*>", text, re.IGNORECASE):
                found.append(text)
    return found
