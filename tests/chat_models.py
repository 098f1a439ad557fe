"""Small tokenizers and models with the chat templates of real families: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import chat_template_utils as trl_templates

# DeepSeek's special tokens, whose bars are full-width.
BOS, EOS = "<\uff5cbegin▁of▁sentence\uff5c>", "<\uff5cend▁of▁sentence\uff5c>"
USER, ASSISTANT = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"

R1_DISTILL = trl_templates.deepseek_r1_distill_chat_template
QWEN3 = trl_templates.qwen3_chat_template
QWEN35 = trl_templates.qwen3_5_think_chat_template
QWEN35_SMALL = trl_templates.qwen3_5_nothink_chat_template
GEMMA = trl_templates.gemma_chat_template
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Knows no thinking, like the template of SmolLM2."""
DELETES_THINKING = (
    f"{BOS}{{% for message in messages %}}{{% if message.role == 'user' %}}{USER}{{{{ message.content }}}}"
    f"{{% else %}}{ASSISTANT}{{{{ message.content.split('</think>')[-1] }}}}{EOS}{{% endif %}}"
    f"{{% endfor %}}{{% if add_generation_prompt %}}{ASSISTANT}{{{{ '<think>\\n' }}}}{{% endif %}}"
)
"""Does what the stock template of R1-Distill does, in words that TRL does not recognise."""

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
THINK_TOKENS = ("<think>", "</think>")

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def r1_distill(template: str = R1_DISTILL) -> PreTrainedTokenizerFast:
    return byte_level(template, (BOS, EOS, USER, ASSISTANT), THINK_TOKENS, bos_token=BOS, eos_token=EOS)


def qwen(template: str = QWEN3) -> PreTrainedTokenizerFast:
    return byte_level(template, CHATML_TOKENS, THINK_TOKENS, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def chatml(template: str = CHATML) -> PreTrainedTokenizerFast:
    return byte_level(template, CHATML_TOKENS, (), eos_token="<|im_end|>", pad_token="<|endoftext|>")


def plain_end() -> PreTrainedTokenizerFast:
    """The token that ends a turn was added as an ordinary one, and is not what the tokenizer calls its end."""
    own = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return byte_level(CHATML, ("<|im_start|>", "<|endoftext|>"), ("<|im_end|>",), **own)


def byte_level(
    template: str, special: tuple[str, ...], added: tuple[str, ...], **roles: str
) -> PreTrainedTokenizerFast:
    """Bytes, and two line breaks as one token, split as Qwen's tokenizer splits."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate([*alphabet, "ĊĊ"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in added])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **roles)
    made.chat_template = template
    return made


def save_model(tokenizer: PreTrainedTokenizerFast, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model with random weights and this tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
