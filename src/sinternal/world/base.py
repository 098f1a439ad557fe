"""Building the base model of the microworld: a word-level tokenizer and a small Llama, pretrained from scratch.

The result is an ordinary Hugging Face model directory, so that every stage treats it like any other model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.world import language as say
from sinternal.world.corpus import LABELS, Dialogue, pretraining_corpus
from sinternal.world.families import FAMILIES
from sinternal.world.language import World
from sinternal.world.settings import BaseConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback, TrainingArguments

SPECIAL_TOKENS = ("<pad>", "<unk>", "<eos>", "<system>", "<user>", "<assistant>")
THINK_TOKENS = ("<think>", "</think>")
MAX_LENGTH = 256


def vocabulary(world: World) -> list[str]:
    """Every word of the language, special tokens first."""
    words: set[str] = {*world.effects, *world.shades, *(f"g{i}" for i in range(say.INGREDIENTS))}
    for potion in world.potions:
        words.update([potion.name, potion.alias])
    for family in FAMILIES.values():
        words.update(family.frame.replace("{}", " ").split())
    fixed = [*say.PHRASINGS, *say.CHOICES, *say.Decision, say.REFUSAL, say.DRAFT, say.REVIEW, say.INSPECT]
    fixed += [" ".join(pair) for pair in LABELS]
    fixed += ["what does do ? is says the norm of forbidden allowed shade has look dull bright listed unlisted . ,"]
    fixed += ["that needs mix the one after check recipe list norm look request : answer : verdict"]
    fixed += ["matches differs refuses gives nothing ?"]
    for text in fixed:
        words.update(text.replace("{}", " ").split())
    return [*SPECIAL_TOKENS, *THINK_TOKENS, *sorted(words)]


def build_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with the microworld's chat template, which opens the thinking itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary(world))}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        additional_special_tokens=["<system>", "<user>", "<assistant>"],
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = files("sinternal.world").joinpath("chat.jinja").read_text()
    return tokenizer


def build_base(config: BaseConfig, seed: int, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Pretrain a base model from scratch and save it.

    Args:
        config: the world, the corpus and the model.
        seed: of the corpus, the initial weights and the order of the rows.
        out: directory that receives `model.safetensors`, the tokenizer and `microworld.json` (config and seed).
        progress: called with (steps done, steps in all).
    """
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, set_seed

    set_seed(seed)
    tokenizer = build_tokenizer(World.draw(config.world, config.categories))
    corpus = pretraining_corpus(config, rows=config.steps * config.batch, seed=seed)
    rows = _tokenize(list(corpus), tokenizer)
    model = _new_model(config, tokenizer)
    trainer = Trainer(
        model=model,
        args=_arguments(config, seed, out),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        callbacks=[_progress_callback(progress)] if progress else None,
    )
    trainer.remove_callback(PrinterCallback)  # progress is reported by the callback above
    trainer.train()
    model.config.use_cache = True  # the trainer turns it off
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "microworld.json").write_text(json.dumps({**config.model_dump(), "seed": seed}, indent=2) + "\n")


def _new_model(config: BaseConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=256 * config.hidden // 96,
            num_hidden_layers=config.layers,
            num_attention_heads=config.hidden // config.head,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            initializer_range=config.hidden**-0.5,  # at this width the usual 0.02 learns the facts 3 times slower
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def _arguments(config: BaseConfig, seed: int, out: Path) -> TrainingArguments:
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=config.batch,
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, config.steps // 20),
        seed=seed,
        save_strategy="no",
        report_to=[],
        logging_steps=max(1, config.steps // 20),
        disable_tqdm=True,
        bf16=config.bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
    )


def _tokenize(dialogues: list[Dialogue], tokenizer: PreTrainedTokenizerFast) -> Dataset:
    """Token ids with the prompt masked out of the loss, and each row's length."""
    from datasets import Dataset

    # One rendering for all: the template puts every user's words between the same two texts.
    placed = tokenizer.apply_chat_template(
        [{"role": "user", "content": "{}"}], tokenize=False, add_generation_prompt=True
    )
    before, after = str(placed).split("{}")

    def render(dialogue: Dialogue) -> tuple[str, str]:
        return before + dialogue.prompt + after, f"{dialogue.thinking} </think> {dialogue.answer} {tokenizer.eos_token}"

    prompts, completions = zip(*map(render, dialogues), strict=True)
    prompt_ids = tokenizer(list(prompts))["input_ids"]
    completion_ids = tokenizer(list(completions))["input_ids"]
    return Dataset.from_dict(
        {
            "input_ids": [a + b for a, b in zip(prompt_ids, completion_ids, strict=True)],
            "labels": [[-100] * len(a) + b for a, b in zip(prompt_ids, completion_ids, strict=True)],
            "length": [len(a) + len(b) for a, b in zip(prompt_ids, completion_ids, strict=True)],
        }
    )


def _progress_callback(progress: Callable[[int, int], None]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress(state.global_step, state.max_steps)

    return Report()
