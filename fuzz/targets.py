"""What is fuzzed: readers of what users, models and servers write, as functions of bytes.

A target returns for every input. What a reader is documented to raise is caught here and looked at: an error that is
meant for people is one line, and not a long one. Everything else that is raised is a fault.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sinternal.attacks.pair import read_proposal
from sinternal.benchmarks.local import FileOptions, LocalFile
from sinternal.benchmarks.rows import READERS, read_rows
from sinternal.engines import Completion
from sinternal.engines.openai_batch_files import read_answers, read_batch, read_file_id, read_page
from sinternal.engines.openai_replies import NonsenseError, RefusedError, read_refusal, read_reply, read_usage
from sinternal.errors import SInternalError
from sinternal.experts.chat import read_critique, read_demonstration
from sinternal.judges import check_sentences
from sinternal.judges.guard import Guard
from sinternal.parquet import write_rows
from sinternal.prompting.think import begun_thinking, opening_tag, read_label, read_verdict, split_thinking
from sinternal.records import Finish, Prompt, Split
from sinternal.redaction import conceal, conceal_reply, redacted, remember
from sinternal.report.results import read_results
from sinternal.settings.base import validate_settings
from sinternal.settings.files import override, packaged_recipes
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.recipe import Recipe
from sinternal.settings.strict_yaml import StrictYamlError, load_yaml
from sinternal.tools.verifier import read_pairs

LONGEST_ERROR = 20_000
"""Characters of an error: one that lists all mistakes of a file is long."""
GUARDS = ("compliance", "harmbench", "llama-guard", "qwen3guard", "refusal", "shieldgemma", "strongreject", "wildguard")
PROMPT = Prompt("p", "p", "A request?", True, "own", "plain", Split.ID)


@contextmanager
def one_line_at_most(*kinds: type[Exception]) -> Iterator[None]:
    """Let errors pass that are for people, if they are one line."""
    try:
        yield
    except (SInternalError, *kinds) as error:
        words = str(error)
        assert "\n" not in words, f"several lines: {words[:300]!r}"
        assert len(words) < LONGEST_ERROR, f"{len(words)} characters: {words[:300]!r}"


def text_of(data: bytes) -> str:
    """Text, with halves of characters where the bytes hold them."""
    return (
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
        if _is_text(data)
        else data.decode("latin-1")
    )


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


@cache
def _quickstart() -> str:
    return packaged_recipes()["quickstart"].read_text()


def recipe(data: bytes) -> None:
    """A recipe file, whole, and as changes to one that is right."""
    with one_line_at_most(StrictYamlError):
        content = load_yaml(text_of(data))
        if isinstance(content, dict):
            content.pop("extends", None)
            with one_line_at_most():
                validate_settings(Recipe, content, "recipe.yaml")
            validate_settings(Recipe, {**load_yaml(_quickstart()), **content}, "recipe.yaml")


def overrides(data: bytes) -> None:
    """Values by `--set`."""
    with one_line_at_most():
        content = load_yaml(_quickstart())
        override(content, text_of(data).split("\x1f"), "--set")
        validate_settings(Recipe, content, "recipe.yaml")


def rows(data: bytes) -> None:
    """A benchmark's file, in each of the formats; the first byte says which."""
    suffixes = sorted(READERS)
    with tempfile.TemporaryDirectory() as folder, one_line_at_most():
        file = Path(folder, f"rows{suffixes[data[0] % len(suffixes)]}" if data else "rows.json")
        file.write_bytes(data[1:])
        with one_line_at_most():
            for row in read_rows(file):
                for column in row.values:
                    with one_line_at_most():
                        row.request(column)
                        row.label(column)
        for harmful in (True, None):
            columns = {"text": "q"} if harmful else {"text": "q", "harmful": "h", "goal": "g", "part": "p"}
            with one_line_at_most():
                LocalFile(FileOptions.model_validate({"path": file, "harmful": harmful, "columns": columns})).prompts(
                    "eval"
                )


def pairs(data: bytes) -> None:
    """Pairs to verify, in JSON lines."""
    with one_line_at_most():
        read_pairs(data.split(b"\n"), "pairs.jsonl")


def thinking(data: bytes) -> None:
    """Thinking, answers, verdicts and labels, as models write them."""
    text = text_of(data)
    for opened in (True, False):
        split = split_thinking(text, opened=opened)
        assert len(split.thinking or "") + len(split.answer or "") <= len(text)
        read_verdict(split.answer)
    read_verdict(text)
    read_label(text, ("safe", "unsafe"))
    opening_tag(text)
    begun_thinking(text)


@cache
def _guards() -> tuple[Guard, ...]:
    engine = {"engine": {"name": "transformers", "model": "some/guard"}}
    return tuple(JudgePlugin(name=name, options=engine).open() for name in GUARDS)


def verdicts(data: bytes) -> None:
    """Replies of judges."""
    text = text_of(data)
    for guard in _guards():
        guard.read_all([text] * len(guard.ask_all(PROMPT, "An answer.")), PROMPT)
    parts = check_sentences.sentences(text)
    assert all(0 <= part.start < part.end <= len(text) for part in parts)
    check_sentences.read_reply(text, check_sentences.sentences("One. Two. Three."))


def critiques(data: bytes) -> None:
    """Replies of experts and attackers."""
    text = text_of(data)
    for finish in (Finish.STOP, Finish.LENGTH):
        completion = Completion("q", 0, None, text, finish)
        read_critique(completion, ("safe", "unsafe"))
        read_demonstration(completion)
    read_proposal(text, "a request")


def replies(data: bytes) -> None:
    """What a server sends in place of a completion."""
    for chat in (True, False):
        with one_line_at_most(NonsenseError, RefusedError):
            reply = read_reply(data, chat=chat)
            (reply.content + reply.thinking).encode()
    read_usage(data)
    refusal = read_refusal(400, data)
    assert "\n" not in refusal.words
    assert refusal.words


def batches(data: bytes) -> None:
    """What a server says of batches, and the files that it brings."""
    for read in (read_file_id, read_batch, read_page):
        with one_line_at_most(NonsenseError):
            read(data)
    reading = read_answers(data.split(b"\x1f"), {"a", "b"})
    assert set(reading.answers) <= {"a", "b"}


def results(data: bytes) -> None:
    """A `results.json` by somebody else."""
    with tempfile.TemporaryDirectory() as folder, one_line_at_most():
        file = Path(folder, "results.json")
        file.write_bytes(data)
        read_results(file)


SECRET = "s3cret/value+of 20 letters"


def secrets(data: bytes) -> None:
    """Texts that hold a secret, and settings with addresses."""
    remember([SECRET])
    text = text_of(data)
    assert SECRET not in conceal(text + SECRET + text)
    assert SECRET.encode() not in conceal_reply(data + SECRET.encode() + data)
    redacted({"options": {"base_url": f"http://{text}@host/?key={text}", "headers": {text: text}, text: text}})


@dataclass(frozen=True)
class Row:
    """For the seed in Parquet."""

    q: str
    h: bool


def _parquet() -> bytes:
    with tempfile.TemporaryFile() as stream:
        write_rows(stream, [Row("How?", True), Row("Why?", False)], Row)
        stream.seek(0)
        return stream.read()


def _ending(suffix: str) -> bytes:
    return bytes([sorted(READERS).index(suffix)])


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        recipe, overrides, rows, pairs, thinking, verdicts, critiques, replies, batches, results, secrets
    )
}  # fmt: skip
"""All of them, by name."""


@cache
def seeds() -> Mapping[str, tuple[bytes, ...]]:
    """Inputs that are right or nearly so, from which others are made."""
    known: dict[str, tuple[bytes, ...]] = {
        "recipe": (
            _quickstart().encode(),
            b"a: &x [1, *x]",
            b"seeds: [0, 1]\nsft: {learning_rate: .inf}\ndate: 2020-13-45",
            b"judges: [{name: qwen3guard, options: {engine: {name: openai, model: m, options: {base_url: 'http://h/v1'}}}}]",
        ),
        "overrides": (
            b"seeds=[0]\x1farms.0.name=x\x1fsft.steps=10",
            b"judges.0={name: oracle}",
            b"engine.options.batch=4",
        ),
        "rows": (
            _ending(".jsonl")
            + b'{"q": "How?", "h": true, "g": "x", "p": "eval"}\n{"q": [{"role": "user", "content": "y"}]}',
            _ending(".json") + b'[{"q": "How?", "h": "no"}]',
            _ending(".csv") + b'q,h\n"How, so?",yes\nWhy?,0\n',
            _ending(".tsv") + b"q\th\nHow?\t1\n",
            _ending(".parquet") + _parquet(),
        ),
        "pairs": (b'{"id": 1, "prompt": "How?", "answer": "So."}\n{"prompt": "a", "answer": "b", "label": "safe"}',),
        "thinking": (
            b"<think>Let me see. This is unsafe.</think>No.\nVerdict: unsafe",
            b"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>**Verdict:** safe.",
            b"Verdict: \xc5\xbfafe",
        ),
        "verdicts": (
            b"Safety: Unsafe\nCategories: Violent\nRefusal: No",
            b"unsafe\nS1,S2",
            b"Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
            b"1. 0\n2. 5\n3. 4",
            b"Yes",
            b"[2] to [3]",
            b"2-3",
            b"Check: 1-2",
            b"Refusal: no",
        ),
        "critiques": (
            b"It tells how to.\nVerdict: unsafe",
            b"Reasoning: I should not.\nAnswer: I can't help.",
            b'```json\n{"improvement": "a", "prompt": "b"}\n```',
        ),
        "replies": (
            b'{"choices": [{"message": {"content": "hi", "reasoning_content": "hm"}, "finish_reason": "stop"}], '
            b'"usage": {"prompt_tokens": 1, "completion_tokens": 2}}',
            b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'
            b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
            b"data: [DONE]\n\n",
            b'{"choices": [{"text": "x", "finish_reason": "length", "logprobs": {"content": [{"token": "a", '
            b'"top_logprobs": [{"token": "b", "logprob": -1}]}]}}]}',
            b'{"error": {"message": "no", "param": "top_k", "code": 3, "metadata": {"reasons": ["x"]}}}',
            b'{"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}',
            b"<html><style>x</style><p>Bad gateway</p>",
        ),
        "batches": (
            b'{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}}\x1f'
            b'{"custom_id": "b", "error": {"code": "batch_expired"}}',
            b'{"id": "x", "status": "in_progress", "input_file_id": "f", '
            b'"request_counts": {"completed": 1, "failed": 0, "total": 2}}',
            b'{"data": [{"id": "x", "status": "completed"}], "has_more": true}',
        ),
        "results": (b'{"version": 2}', b'{"version": 3, "scores": []}'),
        "secrets": (b"http://me:pass@host/v1?key=abc&x=1#y", b"%2F+ \\/ =="),
    }
    return known


def run(name: str, data: bytes) -> Any:
    """Give bytes to a target."""
    return TARGETS[name](data)
