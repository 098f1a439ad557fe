"""The shape of a model, read from its `config.json` alone: its weights and what a token costs, without loading torch.

It knows decoder-only transformers of the Llama family, dense and with experts. The count of parameters is exact.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from sinternal.errors import ModelError
from sinternal.models.resolve import ModelSource, adapter_base, model_folder
from sinternal.registry import Kind, names
from sinternal.settings.plugins import ModelSourcePlugin
from sinternal.settings.strict_yaml import load_yaml

CONFIG = "config.json"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number of each type that weights are stored in."""
QKV_BIAS = frozenset(("qwen2",))
"""Families whose query, key and value projections have a bias, whatever the file says."""
QK_NORM = frozenset(("qwen3", "qwen3_moe"))
"""Families that normalise queries and keys of each head."""
HEAD_DIM = {"qwen3": 128, "qwen3_moe": 128}
"""Width of a head where the file names none; elsewhere it is the model's width by its heads."""
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral")
"""Values of `model_type` whose parameters are counted here."""


@dataclass(frozen=True)
class Shape:
    """What a decoder-only transformer consists of."""

    layers: int
    """Decoder layers."""
    hidden: int
    """Width of the residual stream."""
    intermediate: int
    """Width of the feed-forward part; with experts, of one expert."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Heads of keys and values."""
    head_dim: int
    """Width of a head."""
    vocab: int
    """Rows of the embedding."""
    context: int
    """Tokens that it was made for."""
    dtype: str
    """Type of the stored weights: a key of `BYTES`."""
    tied: bool
    """Whether the output layer is the embedding."""
    qkv_bias: bool = False
    """Whether the query, key and value projections have a bias."""
    output_bias: bool = False
    """Whether the attention's output projection has one."""
    mlp_bias: bool = False
    """Whether the feed-forward part has one."""
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    experts: int = 0
    """Experts of a layer that has them; 0: a dense model."""
    experts_per_token: int = 0
    """Experts that a token goes through."""
    dense_layers: int = 0
    """In a model with experts: layers without them."""
    dense_intermediate: int = 0
    """Width of the feed-forward part of these layers."""

    @property
    def parameters(self) -> int:
        """All weights, those of tied embeddings once."""
        return self._count(self.experts)

    @property
    def active_parameters(self) -> int:
        """Weights that a token is multiplied with: without the embedding that it is looked up in, and idle experts."""
        lookup = 0 if self.tied else self.vocab * self.hidden
        return self._count(self.experts_per_token) - lookup

    @property
    def matrix_parameters(self) -> int:
        """Weights of the layers' matrices and of the output layer: what automatic mixed precision casts."""
        lookup = 0 if self.tied else self.vocab * self.hidden
        return self.parameters - lookup

    @property
    def layer_parameters(self) -> int:
        """Weights of the largest decoder layer."""
        plain = self._feed_forward(self.dense_intermediate if self.experts else self.intermediate)
        return self._attention() + 2 * self.hidden + max(plain, self._experts(self.experts) if self.experts else 0)

    @property
    def output_parameters(self) -> int:
        """Weights of the output layer and of the norm before it."""
        return self.vocab * self.hidden + self.hidden

    @property
    def bytes_each(self) -> int:
        """Bytes of a stored weight."""
        return BYTES[self.dtype]

    @property
    def heads_width(self) -> int:
        """Width of the queries of all heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys, or values, of all heads together."""
        return self.kv_heads * self.head_dim

    def adapter_parameters(self, rank: int) -> int:
        """Weights of a LoRA adapter of this rank on every linear layer but the output layer, PEFT's `all-linear`.

        Of experts PEFT adapts the router, and gate and up projection as one matrix of twice the rank.
        """
        h, q, kv, f = self.hidden, self.heads_width, self.kv_width, self.intermediate
        attention = 2 * (h + q) + 2 * (h + kv)
        dense = 3 * (h + (self.dense_intermediate if self.experts else f))
        experts = self.experts * (2 * (h + 2 * f) + f + h) + h + self.experts
        with_experts = self.layers - self.dense_layers if self.experts else 0
        return rank * (self.layers * attention + (self.layers - with_experts) * dense + with_experts * experts)

    def _count(self, experts: int) -> int:
        """Weights with so many experts to a layer that has experts."""
        if self.experts:
            layers = (self.layers - self.dense_layers) * self._experts(experts)
            layers += self.dense_layers * self._feed_forward(self.dense_intermediate)
        else:
            layers = self.layers * self._feed_forward(self.intermediate)
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.layers * (self._attention() + 2 * self.hidden) + layers + self.hidden + embeddings

    def _attention(self) -> int:
        h, q, kv = self.hidden, self.heads_width, self.kv_width
        biases = (q + 2 * kv if self.qkv_bias else 0) + (h if self.output_bias else 0)
        return h * q + 2 * h * kv + q * h + biases + (2 * self.head_dim if self.qk_norm else 0)

    def _experts(self, experts: int) -> int:
        """Weights of a layer's router and of so many of its experts."""
        return experts * self._feed_forward(self.intermediate) + self.hidden * self.experts

    def _feed_forward(self, width: int) -> int:
        return 3 * self.hidden * width + (2 * width + self.hidden if self.mlp_bias else 0)


def find_shape(
    model: str, revision: str | None = None, options: Mapping[str, Any] | None = None, config: Path | None = None
) -> Shape:
    """The shape of a model that need not be here.

    Args:
        model: a model directory or an adapter's, a registered source, or a Hugging Face id.
        revision: branch, tag or commit of a Hugging Face id.
        options: of a registered source.
        config: its `config.json`, if that is elsewhere.

    Raises:
        ModelError: nothing here says what shape it has, or it is of a family that cannot be counted.
    """
    if config is not None:
        return read_shape(config)
    if model in names(Kind.MODEL):
        source: ModelSource = ModelSourcePlugin(name=model, options=dict(options or {})).open()
        if (folder := source.locate()) is not None:
            return read_shape(folder / CONFIG)
    elif (folder := model_folder(model)) is not None:
        base = adapter_base(folder)
        return read_shape(folder / CONFIG) if base is None else find_shape(base)
    elif (cached := cached_config(model, revision)) is not None:
        return read_shape(cached)
    if model in (published := published_configs()):
        return shape_of(published[model], model)
    raise ModelError(
        f"the shape of model {model!r} is not known here: it is neither built nor in the cache of the hub; fetch or "
        f"build it, or name its file: --model-config {model}=path/to/{CONFIG}"
    )


def published_configs() -> dict[str, dict[str, Any]]:
    """The configurations that come with this package, by the models' names."""
    content: dict[str, dict[str, Any]] = load_yaml(files("sinternal.models").joinpath("shapes.yaml").read_text())
    return content


def cached_config(hub_id: str, revision: str | None = None) -> Path | None:
    """The `config.json` of a model in the cache of the Hugging Face hub, by the layout that the cache documents."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    named = folder / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else revision
    file = folder / "snapshots" / commit / CONFIG if commit else None
    return file if file is not None and file.is_file() else None


def read_shape(file: Path) -> Shape:
    """The shape that a `config.json` describes. Raises ModelError."""
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); name a model's {CONFIG}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not a {CONFIG} ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file}: not a {CONFIG}, which is a mapping of fields")
    return shape_of(content, str(file))


def shape_of(config: Mapping[str, Any], where: str) -> Shape:
    """The shape that the fields of a `config.json` describe.

    Args:
        config: the fields.
        where: what they are of, for messages.

    Raises:
        ModelError: a field is missing, or the model is of another family, or quantised.
    """
    fields: Mapping[str, Any] = config.get("text_config", config)
    family = fields.get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"{where}: models of type {family!r} cannot be counted; only {', '.join(FAMILIES)}")
    if config.get("quantization_config"):
        raise ModelError(
            f"{where}: the model is quantised, which is not planned for; name the {CONFIG} of its original"
        )
    try:
        dense = int(fields["intermediate_size"])
        hidden, heads, layers = (
            int(fields[name]) for name in ("hidden_size", "num_attention_heads", "num_hidden_layers")
        )
        vocab, context = int(fields["vocab_size"]), int(fields["max_position_embeddings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: field {error} is missing or not a number") from error
    dtype = str(fields.get("dtype") or fields.get("torch_dtype") or config.get("dtype") or "float32")
    if dtype not in BYTES:
        raise ModelError(f"{where}: weights of type {dtype!r} are not planned for; only {', '.join(BYTES)}")
    experts = int(fields.get("num_experts") or fields.get("num_local_experts") or 0)
    bias = bool(fields.get("attention_bias"))
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=int(fields.get("moe_intermediate_size", dense)) if experts else dense,
        heads=heads,
        kv_heads=int(fields.get("num_key_value_heads") or heads),
        head_dim=int(fields.get("head_dim") or HEAD_DIM.get(family, hidden // heads)),
        vocab=vocab,
        context=context,
        dtype=dtype,
        tied=bool(fields.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        qkv_bias=bias or family in QKV_BIAS,
        output_bias=bias and family not in QKV_BIAS,
        mlp_bias=bool(fields.get("mlp_bias")),
        qk_norm=family in QK_NORM,
        experts=experts,
        experts_per_token=int(fields.get("num_experts_per_tok") or 0),
        dense_layers=_dense_layers(fields, layers) if experts else 0,
        dense_intermediate=dense if experts else 0,
    )


def _dense_layers(fields: Mapping[str, Any], layers: int) -> int:
    """Layers without experts, as Qwen3-MoE's configuration has it."""
    without, every = set(fields.get("mlp_only_layers") or ()), int(fields.get("decoder_sparse_step") or 1)
    return sum(layer in without or (layer + 1) % every != 0 for layer in range(layers))
