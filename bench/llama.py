"""Llamas of random weights, with the microworld's tokenizer: what they write means nothing, and takes its time."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from sinternal.models.resolve import resolve_model


def random_llama(folder: Path, hidden: int = 256, layers: int = 4) -> str:
    """Save one; by default of 3 million weights.

    Args:
        folder: receives it.
        hidden: its width, in 128s; a layer has 11.5 times its square of weights.
        layers: its depth.
    """
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("microworld"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 128,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
