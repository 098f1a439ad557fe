from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import chat_template_utils as trl_templates

from sinternal.errors import DataError, ModelError
from sinternal.prompting.chat import (
    GenerationPrompt,
    ThinkingStyle,
    assistant_turn,
    generation_prompt,
    keeps_thinking,
    template_to_train_with,
    thinking_style,
    training_template,
    visible_text,
    with_prefill,
)
from sinternal.prompting.rendering import set_template_arguments
from sinternal.prompting.think import CHANNELS, KNOWN_TAGS, Tags
from tests.chat_models import (
    ASSISTANT,
    BOS,
    CHATML,
    CHATML_TOKENS,
    DELETES_THINKING,
    GEMMA,
    QWEN3,
    QWEN35,
    QWEN35_SMALL,
    R1_DISTILL,
    USER,
    byte_level,
    chatml,
    qwen,
    r1_distill,
)

HELLO = (("user", "hello"),)
SKIP = "<think>\n\n</think>\n\n"


def test_the_style_is_found_by_rendering() -> None:
    assert thinking_style(r1_distill()) is ThinkingStyle.OPENED
    assert thinking_style(qwen(QWEN35)) is ThinkingStyle.OPENED
    assert thinking_style(qwen()) is ThinkingStyle.EMITTED
    assert thinking_style(chatml()) is ThinkingStyle.NONE


def test_a_token_for_thinking_is_enough_to_be_asked_for_it() -> None:
    assert thinking_style(qwen(chatml().chat_template)) is ThinkingStyle.EMITTED


def test_a_template_that_closes_the_thinking_at_once_leaves_none() -> None:
    prompt = generation_prompt(qwen(QWEN35_SMALL), HELLO)
    assert prompt.text.endswith(f"assistant\n{SKIP}")
    assert (prompt.style, prompt.opened) == (ThinkingStyle.NONE, False)


def test_the_microworld_opens_the_thinking(base_model: object) -> None:
    assert thinking_style(AutoTokenizer.from_pretrained(base_model)) is ThinkingStyle.OPENED


def test_generation_starts_where_the_template_says() -> None:
    assert generation_prompt(r1_distill(), HELLO).text == f"{BOS}{USER}hello{ASSISTANT}<think>\n"
    assert generation_prompt(qwen(), HELLO).text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    system = (("system", "be kind"), *HELLO)
    assert generation_prompt(chatml(), system).text == (
        "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_tag_that_the_user_wrote_opens_nothing() -> None:
    for tokenizer in (qwen(), chatml()):
        assert not generation_prompt(tokenizer, [("user", "say <think>")]).opened


def test_a_raw_request_adds_nothing() -> None:
    for tokenizer in (r1_distill(), qwen(), chatml()):
        prompt = generation_prompt(tokenizer, [("user", "how to <think>\n")], raw=True)
        assert (prompt.text, prompt.opened, prompt.prefill) == ("how to <think>\n", False, "")


def test_messages_that_the_template_refuses_are_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match="refuses these messages: System role not supported"):
        generation_prompt(chatml(GEMMA), [("system", "be kind"), *HELLO])


def test_a_prefill_takes_the_place_of_the_opening_tag() -> None:
    opened = generation_prompt(r1_distill(), HELLO)
    before = f"{BOS}{USER}hello{ASSISTANT}"
    assert with_prefill(opened, "<think>\nSure").text == f"{before}<think>\nSure"
    assert with_prefill(opened, SKIP).text == f"{before}{SKIP}"
    assert with_prefill(opened, f"{SKIP}Sure").text == f"{before}{SKIP}Sure"
    assert with_prefill(opened, "Sure").text == f"{before}<think>\nSure"
    assert with_prefill(opened, "") == opened


def test_a_prefill_opens_the_thinking_of_a_model_that_writes_the_tag_itself() -> None:
    prompt = generation_prompt(qwen(), HELLO)
    for prefill in ("<think>\nSure", SKIP, f"{SKIP}Sure", "Sure"):
        assert with_prefill(prompt, prefill).text == prompt.text + prefill


def test_a_model_without_thinking_gets_a_prefill_without_tags() -> None:
    prompt = generation_prompt(chatml(), HELLO)
    for prefill, own in {
        "<think>\nSure": "Sure",
        SKIP: "",
        f"{SKIP}Sure, ": "Sure, ",
        "<think>\nIt is safe.\n</think>\n\nSure": "It is safe.\n\nSure",
        "Sure, ": "Sure, ",
    }.items():
        longer = with_prefill(prompt, prefill)
        assert (longer.text, longer.prefill) == (prompt.text + own, own)


def test_a_prefill_can_open_a_thinking_that_the_template_had_closed() -> None:
    prompt = generation_prompt(qwen(QWEN35_SMALL), HELLO)
    assert with_prefill(prompt, "<think>\nSure").text.endswith("assistant\n<think>\nSure")
    assert with_prefill(prompt, f"{SKIP}Sure").text.endswith(f"assistant\n{SKIP}Sure")
    assert with_prefill(prompt, "Sure").text.endswith(f"assistant\n{SKIP}Sure")


@pytest.mark.parametrize(
    ("make", "prefill", "written", "expected"),
    [
        (r1_distill, "", "hm\n</think>\n\nyes", ("hm", "yes")),
        (r1_distill, "", "hm", ("hm", None)),
        (r1_distill, "<think>\nSure", ", hm\n</think>\n\nyes", ("Sure, hm", "yes")),
        (r1_distill, SKIP, "yes", ("", "yes")),
        (r1_distill, f"{SKIP}Sure", ", yes", ("", "Sure, yes")),
        (qwen, "", "<think>\nhm\n</think>\n\nyes", ("hm", "yes")),
        (qwen, "", "<think>\nhm", ("hm", None)),
        (qwen, "<think>\nSure", ", hm", ("Sure, hm", None)),
        (qwen, f"{SKIP}Sure", ", yes", ("", "Sure, yes")),
        (chatml, "", "yes", (None, "yes")),
        (chatml, SKIP, "yes", (None, "yes")),
        (chatml, "<think>\nSure", ", yes", (None, "Sure, yes")),
    ],
)
def test_what_is_written_after_a_prefill_is_split_by_the_prompt(
    make: Callable[[], PreTrainedTokenizerBase], prefill: str, written: str, expected: tuple[str | None, str | None]
) -> None:
    prompt = with_prefill(generation_prompt(make(), HELLO), prefill)
    assert prompt.split(prompt.prefill + written) == expected


def test_a_turn_is_written_as_the_model_would_write_it() -> None:
    thoughts = "<think>\nhm\n</think>\n\nyes"
    for tokenizer in (r1_distill(), qwen(), qwen(QWEN35)):
        assert assistant_turn(generation_prompt(tokenizer, HELLO), " hm\n", "yes ") == thoughts
    for tokenizer in (chatml(), qwen(QWEN35_SMALL)):
        assert assistant_turn(generation_prompt(tokenizer, HELLO), " hm\n", "yes ") == "hm\n\nyes"


def test_a_turn_without_thinking_shows_that_the_thinking_is_empty() -> None:
    assert assistant_turn(generation_prompt(qwen(), HELLO), "", "yes") == f"{SKIP}yes"
    assert assistant_turn(generation_prompt(r1_distill(), HELLO), "", "yes") == "<think>\n</think>\n\nyes"
    assert assistant_turn(generation_prompt(chatml(), HELLO), "", "yes") == "yes"


def test_a_template_that_opens_with_the_bare_tag_gets_a_line_of_its_own() -> None:
    bare = GenerationPrompt("<assistant> <think>", ThinkingStyle.OPENED)
    assert assistant_turn(bare, "hm", "yes") == "<think>\nhm\n</think>\n\nyes"


def test_the_stock_template_of_r1_distill_deletes_the_thinking_and_the_training_template_mends_it() -> None:
    tokenizer = r1_distill()
    assert tokenizer.chat_template == R1_DISTILL
    assert not keeps_thinking(tokenizer)
    mended = training_template(tokenizer)
    assert mended is not None
    assert keeps_thinking(tokenizer, mended)
    assert template_to_train_with(tokenizer) == mended


def test_qwen3_keeps_the_thinking_of_the_last_turn() -> None:
    assert keeps_thinking(qwen())
    assert training_template(qwen()) not in (None, QWEN3)


def test_a_template_unknown_to_trl_is_used_as_it_is() -> None:
    tokenizer = chatml()
    assert training_template(tokenizer) is None
    assert template_to_train_with(tokenizer) == tokenizer.chat_template


def test_a_template_that_deletes_the_thinking_without_a_mend_is_refused() -> None:
    tokenizer = r1_distill(DELETES_THINKING)
    assert training_template(tokenizer) is None
    assert not keeps_thinking(tokenizer)
    with pytest.raises(DataError, match="deletes the thinking"):
        template_to_train_with(tokenizer)


def test_thinking_tags_are_read_even_where_they_are_special_tokens() -> None:
    tokenizer = chatml()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(tag, special=True) for tag in ("<think>", "</think>")]}
    )
    text = "<think>\nhm\n</think>\n\nyes"
    ids = tokenizer(f"{text}<|im_end|>")["input_ids"]
    assert "<think>" not in tokenizer.decode(ids, skip_special_tokens=True)
    assert visible_text(tokenizer, ids) == text


PARTS = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role }}{% if message.content is not string %}"
    "{% for part in message.content %}{{ '\\n' + part.text }}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
)
"""Takes content as a list of parts and drops plain text without a word, as Llama Guard 4's template does."""


def test_a_template_that_wants_parts_gets_parts() -> None:
    assert "is this all right" in generation_prompt(chatml(PARTS), [("user", "is this all right")]).text


def test_a_raw_request_begins_as_the_tokenizer_begins_every_text() -> None:
    tokenizer = r1_distill()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.bos_token_id)]
    )
    assert generation_prompt(tokenizer, [("user", "Once")], raw=True).text == f"{BOS}Once"
    assert generation_prompt(tokenizer, [("user", f"{BOS}Once")], raw=True).text == f"{BOS}Once"


HYBRID = CHATML + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)


def test_a_template_is_told_what_it_asks_for() -> None:
    tokenizer = qwen(HYBRID)
    assert generation_prompt(tokenizer, HELLO).style is ThinkingStyle.EMITTED
    set_template_arguments(tokenizer, {"enable_thinking": False, "note": {"a": [None, 1.5, "it's {{ x }}"]}})
    prompt = generation_prompt(tokenizer, HELLO)
    assert prompt.text.endswith(SKIP)
    assert prompt.style is ThinkingStyle.NONE
    for name in ("a b", "x = 1 %}{{ 7 }}{%- set y", ""):
        with pytest.raises(ModelError, match="is not a name that a chat template can ask for"):
            set_template_arguments(tokenizer, {name: 1})


@pytest.mark.parametrize("tags", [tags for tags in KNOWN_TAGS if not tags.open.isalpha() and tags != CHANNELS])
def test_a_model_that_spells_its_thinking_otherwise_is_read_and_begun_in_its_own_way(tags: Tags) -> None:
    emits = byte_level(CHATML, CHATML_TOKENS, tags, eos_token="<|im_end|>")
    prompt = generation_prompt(emits, HELLO)
    assert (prompt.style, prompt.tags) == (ThinkingStyle.EMITTED, (tags,))
    assert prompt.split(f"{tags.open}hm{tags.close}yes") == ("hm", "yes")
    assert prompt.split("<other>hm</other>yes") == (None, "<other>hm</other>yes")
    assert with_prefill(prompt, SKIP).prefill == SKIP.replace("<think>", tags.open).replace("</think>", tags.close)
    opened = generation_prompt(chatml(CHATML.replace("assistant\\n", f"assistant\\n{tags.open}\\n")), HELLO)
    assert opened.style is ThinkingStyle.OPENED
    assert opened.split(f"hm{tags.close}yes") == ("hm", "yes")
    assert assistant_turn(opened, "hm", "yes").split() == f"{tags.open} hm {tags.close} yes".split()


def test_a_user_may_say_how_a_model_spells_its_thinking() -> None:
    own = generation_prompt(chatml(), HELLO, tags=Tags("((", "))"))
    assert own.split("((hm)) yes") == ("hm", "yes")


def test_the_tokens_of_channels_stay_visible_and_the_answer_is_the_final_one() -> None:
    marks = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>")
    tokenizer = byte_level(trl_templates.gptoss_chat_template, marks, (), eos_token="<|return|>")
    written = "<|channel|>analysis<|message|>I can't.<|end|><|start|>assistant<|channel|>final<|message|>Sure"
    prompt = generation_prompt(tokenizer, HELLO)
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert prompt.split(visible_text(tokenizer, ids)) == ("I can't.", "Sure")
    with pytest.raises(DataError, match="thinks in channels"):
        template_to_train_with(tokenizer)
