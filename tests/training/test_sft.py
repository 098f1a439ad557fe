from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerBase
from trl import SFTTrainer

from sinternal.engines import Request, TemplateOptions
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import DataError
from sinternal.models.loading import load_base
from sinternal.prompting.chat import generation_prompt
from sinternal.prompting.rendering import set_template_arguments
from sinternal.records import Example
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import Method, SftSettings
from sinternal.training.checkpoints import SEAL
from sinternal.training.sft import IGNORED, check_labels, form_of, to_dataset, train
from tests.chat_models import (
    DELETES_THINKING,
    EOS,
    QWEN35,
    QWEN35_SMALL,
    R1_DISTILL,
    chatml,
    plain_end,
    qwen,
    r1_distill,
    save_model,
)
from tests.plugins import open_plugin

QUESTION = "check norm e0 e1 . request : how to brew p5 ? answer : mix g1 g2 g3 . verdict safe unsafe ?"
CRITIQUE = "review : p5 is e3 . e3 forbidden . answer gives p5 . so refuse ."
EXAMPLES = [
    Example(f"x{i}", QUESTION, CRITIQUE, "verdict : unsafe", "unsafe", "p", "r", "v", quotes=True) for i in range(8)
]


def settings(method: Method = Method.FULL, **changes: object) -> SftSettings:
    return SftSettings.model_validate({"method": method, "steps": 3, "batch": 4, "learning_rate": 1e-3, **changes})


def test_the_loss_is_on_exactly_the_critique_and_the_verdict(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    original = SFTTrainer.compute_loss

    def watched(self, model, inputs, *args, **kwargs):  # type: ignore[no-untyped-def]
        batches.append({name: value.clone() for name, value in inputs.items() if name in ("input_ids", "labels")})
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", watched)
    train(base_model, EXAMPLES, settings(), 0, tmp_path / "model", lambda *_: None)
    assert batches
    for labels, ids in zip(batches[0]["labels"], batches[0]["input_ids"], strict=True):
        under_loss = [int(i) for i in labels if i != IGNORED]
        assert tokenizer.decode(under_loss) == f"{CRITIQUE} </think> verdict : unsafe <eos>"
        assert tokenizer.decode(ids[labels == IGNORED]).startswith(f"<user> {QUESTION} <assistant> <think>")


@pytest.mark.parametrize("method", list(Method))
def test_training_lowers_the_loss_and_leaves_a_model_that_writes(
    base_model: Path, tmp_path: Path, method: Method
) -> None:
    steps: list[int] = []
    out = tmp_path / "model"
    log = train(base_model, EXAMPLES, settings(method, steps=24), 0, out, lambda done, _all: steps.append(done))
    assert log.training[-1]["loss"] < log.training[0]["loss"]
    assert log.notes == []
    assert steps == list(range(1, 25))
    engine = open_plugin(TransformersEngine, str(out), {})
    (completion,) = engine.generate([Request("r", (("user", QUESTION),))], Sampling(max_tokens=64), 0)
    assert (completion.thinking, completion.answer) == (CRITIQUE, "verdict : unsafe")


def test_the_same_seed_trains_the_same_weights(base_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(base_model, EXAMPLES, settings(), 7, tmp_path / name, lambda *_: None)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_a_step_that_is_cut_into_forward_passes_leaves_the_same_model(base_model: Path, tmp_path: Path) -> None:
    rows = [replace(row, thinking=CRITIQUE + " e3" * number) for number, row in enumerate(EXAMPLES[:7])]
    losses, left = [], []
    for micro in (None, 3):
        out = tmp_path / str(micro)
        log = train(base_model, rows, settings(micro_batch=micro), 7, out, lambda *_: None)
        losses.append([row["loss"] for row in log.training])
        left.append(load_file(out / "model.safetensors"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert all(torch.allclose(weight, left[1][name], atol=1e-4) for name, weight in left[0].items())


def test_a_template_that_deletes_the_thinking_is_refused(base_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    deleted = tokenizer("verdict : unsafe <eos>")["input_ids"]
    rows = [{"input_ids": deleted, "labels": deleted}]
    with pytest.raises(DataError, match="the chat template turns the target"):
        check_labels(rows, EXAMPLES[:1], form_of(tokenizer), 256)  # type: ignore[arg-type]


def test_a_row_that_is_too_long_is_refused_not_cut(base_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raise sft\.max_length \(16\)"):
        train(base_model, EXAMPLES, settings(max_length=16), 0, tmp_path / "model", lambda *_: None)
    assert not (tmp_path / "model").exists()


def test_the_microworlds_tokens_are_what_they_always_were(base_model: Path) -> None:
    example = Example("x", "how to brew p5 ?", "p5 is e3 . so refuse .", "sorry i cannot .", "unsafe", "p", "r")
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    (row,) = to_dataset([example], form_of(tokenizer))
    ids = [4, 87, 339, 19, 154, 11, 5, 6, 154, 91, 40, 9, 330, 305, 9, 7, 331, 88, 21, 9, 2]
    text = "<user> how to brew p5 ? <assistant> <think> p5 is e3 . so refuse . </think> sorry i cannot . <eos>"
    assert tokenizer.convert_ids_to_tokens(ids) == text.split()
    assert row == {"input_ids": ids, "labels": [IGNORED] * 8 + ids[8:]}


def example(thinking: str, answer: str = "Verdict: safe") -> Example:
    return Example("x", "Is it safe?", thinking, answer, "safe", "p", "r")


def labels(tokenizer: PreTrainedTokenizerBase, row: Example) -> str:
    """The text under the loss, when it has passed the checks and continues the engine's own prompt."""
    form = form_of(tokenizer)
    rows = to_dataset([row], form)
    check_labels(rows, [row], form, 512)
    ids, under_loss = rows[0]["input_ids"], [token for token in rows[0]["labels"] if token != IGNORED]
    prompt = generation_prompt(tokenizer, [("user", row.prompt)]).text
    assert ids == tokenizer(prompt, add_special_tokens=False)["input_ids"] + under_loss
    return str(tokenizer.decode(under_loss))


@pytest.mark.parametrize(
    ("make", "with_thinking", "without"),
    [
        (r1_distill, f"Nice.\n</think>\n\nVerdict: safe{EOS}", f"</think>\n\nVerdict: safe{EOS}"),
        (
            qwen,
            "<think>\nNice.\n</think>\n\nVerdict: safe<|im_end|>",
            "<think>\n\n</think>\n\nVerdict: safe<|im_end|>",
        ),
        (
            lambda: qwen(QWEN35),
            "Nice.\n</think>\n\nVerdict: safe<|im_end|>",
            "\n</think>\n\nVerdict: safe<|im_end|>",
        ),
        (lambda: qwen(QWEN35_SMALL), "Nice.\n\nVerdict: safe<|im_end|>", "Verdict: safe<|im_end|>"),
        (chatml, "Nice.\n\nVerdict: safe<|im_end|>", "Verdict: safe<|im_end|>"),
    ],
    ids=["R1-Distill", "Qwen3", "Qwen3.5", "Qwen3.5 that thinks on demand", "ChatML"],
)
def test_the_labels_continue_the_generation_prompt_as_the_model_would(
    make: Callable[[], PreTrainedTokenizerBase], with_thinking: str, without: str
) -> None:
    assert labels(make(), example("Nice.")) == with_thinking
    assert labels(make(), example("")) == without


def test_a_template_that_deletes_the_thinking_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    (save_model(r1_distill(DELETES_THINKING), tmp_path / "base") / "model.safetensors").unlink()
    with pytest.raises(DataError, match="deletes the thinking of assistant turns"):
        train(tmp_path / "base", [example("Nice.")], settings(), 0, tmp_path / "model", lambda *_: None)


def test_a_template_that_answers_another_prompt_is_refused() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    with pytest.raises(DataError, match="not so once it is answered"):
        to_dataset([example("")], form_of(chatml(template)))


def test_a_trained_model_keeps_the_stock_template_and_its_dtype(tmp_path: Path) -> None:
    base = save_model(r1_distill(), tmp_path / "base", torch.bfloat16)
    for method in Method:
        out = tmp_path / method
        train(base, [example("Nice.")], settings(method, batch=1), 0, out, lambda *_: None)
        assert AutoTokenizer.from_pretrained(out).chat_template == R1_DISTILL
        assert load_base(out).dtype is torch.bfloat16


@pytest.mark.parametrize("make", [r1_distill, qwen, chatml], ids=["R1-Distill", "Qwen3", "ChatML"])
def test_a_row_is_put_under_the_system_message_that_an_engine_sends(
    make: Callable[[], PreTrainedTokenizerBase],
) -> None:
    tokenizer, row = make(), replace(example("Nice."), system="Be brief.")
    prompt = generation_prompt(tokenizer, [("system", "Be brief."), ("user", row.prompt)])
    form = form_of(tokenizer)
    rows = to_dataset([row], form)
    check_labels(rows, [row], form, 512)
    ids, ignored = rows[0]["input_ids"], rows[0]["labels"].count(IGNORED)
    assert ids[:ignored] == prompt.encode(tokenizer).ids
    assert "Be brief." in tokenizer.decode(ids[:ignored])


NEVER_ENDS = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{% if message.role == 'user' %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_that_never_ends_the_assistants_turn_is_refused(tmp_path: Path) -> None:
    base = save_model(chatml(NEVER_ENDS), tmp_path / "base")
    with pytest.raises(DataError, match=r"no token that ends the turn \('<\|im_end\|>'\).*never learn to stop"):
        train(base, [example("")], settings(batch=1), 0, tmp_path / "model", lambda *_: None)


def test_a_row_ends_with_the_templates_own_end_though_the_tokenizer_names_another() -> None:
    tokenizer = chatml()
    tokenizer.eos_token = "<|endoftext|>"
    assert labels(tokenizer, example("")) == "Verdict: safe<|im_end|>"


def test_a_row_may_end_with_a_token_that_is_no_special_one() -> None:
    assert labels(plain_end(), example("")) == "Verdict: safe<|im_end|>"


CONTROLS = "It writes <|im_end|>\n<|im_start|>user\n<think>Hi</think> to me."


@pytest.mark.parametrize("make", [qwen, chatml], ids=["Qwen3", "ChatML"])
def test_control_tokens_that_a_critique_or_a_verified_answer_spells_are_plain_text(
    make: Callable[[], PreTrainedTokenizerBase],
) -> None:
    tokenizer = make()
    row = replace(example(CONTROLS), prompt=f"Is this safe? {CONTROLS}", quotes=True)
    form = form_of(tokenizer)
    rows = to_dataset([row], form)
    check_labels(rows, [row], form, 512)
    ids, plain = rows[0]["input_ids"], to_dataset([example("Nice.")], form)[0]["input_ids"]
    added = set(tokenizer.added_tokens_decoder)
    assert [i for i in ids if i in added] == [i for i in plain if i in added]
    sent = generation_prompt(tokenizer, [("user", row.prompt)], quotes=True).encode(tokenizer).ids
    assert ids[: rows[0]["labels"].count(IGNORED)] == sent


def test_a_prompt_that_is_the_models_to_answer_is_read_as_an_engine_reads_it() -> None:
    tokenizer, row = qwen(), replace(example(""), prompt="What does <|im_end|> mean?")
    rows = to_dataset([row], form_of(tokenizer))
    sent = generation_prompt(tokenizer, [("user", row.prompt)]).encode(tokenizer).ids
    assert rows[0]["input_ids"][: rows[0]["labels"].count(IGNORED)] == sent


@pytest.mark.parametrize("method", list(Method))
def test_a_training_that_diverges_stops_at_once_and_leaves_no_model(
    base_model: Path, tmp_path: Path, method: Method
) -> None:
    done: list[int] = []
    how = settings(method, steps=40, learning_rate=1e38)
    with pytest.raises(DataError, match=r"training diverged at step \d+: the .* is (nan|inf); lower sft.learning_rate"):
        train(base_model, EXAMPLES, how, 0, tmp_path / "model", lambda step, _all: done.append(step))
    assert len(done) < 5
    assert not (tmp_path / "model").exists()


def test_a_training_that_changes_nothing_is_an_error(tmp_path: Path) -> None:
    base = save_model(qwen(), tmp_path / "base", torch.bfloat16)
    with pytest.raises(DataError, match=r"changed no weight as stored in bfloat16; raise sft\.learning_rate"):
        train(base, [example("")], settings(batch=1, learning_rate=1e-12), 0, tmp_path / "model", lambda *_: None)


def test_a_full_training_of_which_rounding_leaves_little_is_told(tmp_path: Path) -> None:
    base = save_model(qwen(), tmp_path / "base", torch.bfloat16)
    log = train(base, [example("")], settings(batch=1, learning_rate=1e-6), 0, tmp_path / "model", lambda *_: None)
    assert [note for note in log.notes if "of the weights as stored in bfloat16: rounding takes" in note]


def test_a_row_is_put_as_the_measuring_engine_is_told_to_put_it() -> None:
    told = TemplateOptions(chat_template_kwargs={"enable_thinking": False})
    tokenizer, form = qwen(), form_of(qwen(), speech=told)
    set_template_arguments(tokenizer, told.chat_template_kwargs)
    sent = generation_prompt(tokenizer, [("user", "Is it safe?")]).encode(tokenizer).ids
    rows = to_dataset([example("")], form)
    check_labels(rows, [example("")], form, 512)
    assert rows[0]["input_ids"][: rows[0]["labels"].count(IGNORED)] == sent
    assert "<think>\n\n</think>" in tokenizer.decode(sent)


def test_the_balance_of_a_mixture_of_experts_weighs_the_same_however_a_step_is_cut(tmp_path: Path) -> None:
    tokenizer = qwen()
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MixtralConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, num_local_experts=4, router_aux_loss_coef=1.0, **size
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [example("Nice." + " Yes." * number) for number in range(4)]
    losses = []
    for micro in (None, 1):
        how = settings(micro_batch=micro, steps=1)
        log = train(tmp_path / "base", rows, how, 0, tmp_path / f"{micro}", lambda *_: None)
        losses.append(log.training[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], abs=0.2), "another pass would add 2"


def test_the_same_seed_trains_the_same_weights_with_any_number_of_threads(base_model: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            train(base_model, EXAMPLES, settings(steps=6), 7, tmp_path / f"{number}", lambda *_: None)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in "12")
    assert one == two


def test_a_row_that_the_model_cannot_read_to_its_end_is_refused(tmp_path: Path) -> None:
    base = save_model(qwen(), tmp_path / "base")
    with pytest.raises(DataError, match=r"has 7\d\d tokens, the model reads 512; take shorter answers"):
        train(base, [example("Nice " * 140)], settings(batch=1), 0, tmp_path / "model", lambda *_: None)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_killed_training_goes_on_from_its_last_whole_checkpoint_and_ends_the_same(
    base_model: Path, tmp_path: Path, *, damaged: bool
) -> None:
    how = settings(save_steps=1)
    whole = train(base_model, EXAMPLES, how, 7, tmp_path / "whole", lambda *_: None)

    def dies(done: int, _all: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base_model, EXAMPLES, how, 7, tmp_path / "killed", dies)
    (checkpoint,) = (tmp_path / "killed.checkpoints").glob("checkpoint-*")
    assert (checkpoint / SEAL).is_file()
    if damaged:
        weights = bytearray((checkpoint / "model.safetensors").read_bytes())
        weights[-1] ^= 0x40
        (checkpoint / "model.safetensors").write_bytes(weights)
    steps: list[int] = []
    again = train(base_model, EXAMPLES, how, 7, tmp_path / "killed", lambda done, _all: steps.append(done))
    assert steps[0] == (1 if damaged else 3)
    assert again == whole
    contents = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert contents[0] == contents[1]
