"""Chat templates come with models from anybody: what they do with time, memory and attributes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sinternal.errors import DataError, ModelError
from sinternal.models.loading import open_tokenizer
from sinternal.prompting import template_process
from sinternal.prompting.chat import generation_prompt
from sinternal.prompting.rendering import apply_template
from tests.chat_models import chatml
from tests.commands import HANGS

GROWS = "{% set of = namespace(it=[]) %}{% for i in range(60) %}{% set of.it = [of.it, of.it] %}{% endfor %}"
TOO_MUCH = {
    "loops for ever": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "computes for ever in one expression": "{{ (3 ** (3 ** 20)) is odd }}",
    "compares for ever": GROWS + "{% set other = of.it %}{{ [of.it, 1] == [other + [], 1] }}{{ of.it }}",
    "is one long text": "{{ 'a' * 10 ** 10 }}",
    "doubles a text": "{% set of = namespace(a='a') %}{% for i in range(60) %}{% set of.a = of.a ~ of.a %}{% endfor %}",
    "pads": "{{ 'a'.ljust(10 ** 10) }}{{ 'a' | center(10 ** 10) }}{{ '%9999999999d' % 1 }}",
    "calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "cannot be parsed": "{{ " + "(" * 50_000 + ")" * 50_000 + " }}",
    "is longer than any": "a" * 5_000_000,
    "says far more than it was told": "{{ messages[0].content }}{{ 'a' * 5_000_000 }}",
}


@pytest.mark.parametrize("template", TOO_MUCH.values(), ids=list(TOO_MUCH))
def test_a_template_that_takes_too_much_time_or_memory_is_given_up_once_and_for_all(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_process, "SECONDS", 1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokenizer = chatml(template)
    for _ in range(2):
        with pytest.raises(DataError, match=r"^the chat template takes more than .* take another model$"):
            generation_prompt(tokenizer, [("user", "hello")])
        monkeypatch.setattr(template_process, "SECONDS", 1e6)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB of this process"
    assert generation_prompt(chatml(), [("user", "hello")]).text, "others are rendered as ever"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{% include '/etc/hostname' %}",
        "{% import 'os' as os %}{{ os.environ }}",
    ],
)
def test_a_template_opens_no_attributes_and_no_files(template: str) -> None:
    with pytest.raises(DataError, match=r"^the chat template refuses these messages: "):
        generation_prompt(chatml("{{ messages[0].content }}" + template), [("user", "hello")])


def test_templates_are_rendered_where_no_variable_of_ours_is_seen_and_no_process_stays() -> None:
    code = (
        "import os, signal\n"
        "from tests.prompting.test_quoting import chatml\n"
        "from sinternal.prompting import template_process as process\n"
        "from sinternal.prompting.chat import generation_prompt\n"
        "generation_prompt(chatml(), [('user', 'hello')])\n"
        "number = process._renderer.process.pid\n"
        "print(number, b'A_SECRET' in open(f'/proc/{number}/environ', 'rb').read(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    settings = {**os.environ, "A_SECRET": "x", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, check=False)
    number, seen = done.stdout.split()
    assert seen == "False"
    patience = time.monotonic() + HANGS
    while Path("/proc", number).exists() and time.monotonic() < patience:
        time.sleep(0.05)
    assert not Path("/proc", number).exists()


def test_what_transformers_would_render_is_rendered() -> None:
    turns = [{"role": "system", "content": "a\ud800 <b>"}, {"role": "user", "content": "\u2028\n'\"é"}]
    for tokenizer in (chatml(), chatml("{{ bos_token }}{{ messages | tojson }}{{ add_generation_prompt }}")):
        for generate in (False, True):
            theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate)
            assert apply_template(tokenizer, turns, generate) == theirs


def test_several_templates_of_which_none_is_the_default_are_an_error_in_one_line(tmp_path: Path) -> None:
    tokenizer = chatml()
    tokenizer.chat_template = {"tools": str(tokenizer.chat_template), "other": "{{ messages }}"}
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"none is called default; name one so$"):
        open_tokenizer(tmp_path)


def test_a_template_that_waits_for_its_moment_stops_that_conversation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "SECONDS", 1.0)
    moment = "{% set n = messages | length %}{% if n > 1 %}{{ ((n + 1) ** (3 ** 20)) is odd }}{% endif %}"
    waits = chatml("{{ messages[0].content }}" + moment)
    assert generation_prompt(waits, [("user", "hello")]).text == "hello"
    with pytest.raises(DataError, match=r"^the chat template takes more than"):
        generation_prompt(waits, [("user", "hello"), ("assistant", "hello")])
