"""What a forecast is computed by: each formula once, with its source.

A formula gives a figure, which remembers how it was made, so that `sinternal plan --explain` can say so beside it. All
take plain numbers: bytes, tokens, operations, seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec

P = ParamSpec("P")


@dataclass(frozen=True)
class Figure:
    """A number, and where it comes from."""

    value: float
    """The number."""
    formula: str = ""
    """How it was computed, in the formula's own words."""
    inputs: str = ""
    """From which numbers."""
    source: str = ""
    """Who says that it is computed so."""

    @property
    def explanation(self) -> str:
        """One line: formula, its numbers, its source."""
        return f"{self.formula} with {self.inputs}; {self.source}"


class Formula(Generic[P]):
    """A function that gives a figure."""

    def __init__(self, function: Callable[P, float], words: str, source: str) -> None:
        """Take the function, what it computes as people write it, and its source."""
        self.function, self.words, self.source = function, words, source
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Figure:
        """The figure of these numbers."""
        given = inspect.signature(self.function).bind(*args, **kwargs).arguments
        inputs = ", ".join(f"{name} {value:,.6g}" for name, value in given.items())
        return Figure(self.function(*args, **kwargs), self.words, inputs, self.source)


def formula(words: str, source: str) -> Callable[[Callable[P, float]], Formula[P]]:
    """Make a function a formula."""
    return lambda function: Formula(function, words, source)


MIXED_PRECISION = "Micikevicius et al. 2018, arXiv 1710.03740; as sinternal.training.weights opens models"
ZERO = "Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1"
FSDP2 = "torch's fully_shard, as accelerate 1.15 calls it for each layer, utils/fsdp_utils.py"
DEEPSPEED = "DeepSpeed's documentation of its configuration"
ACTIVATIONS = "Korthikanti et al. 2022, arXiv 2205.05198, section 4"
ROOFLINE = "roofline, Williams et al. 2009, doi 10.1145/1498765.1498785; Pope et al. 2022, arXiv 2211.05102"
OPERATIONS = "Kaplan et al. 2020, arXiv 2001.08361, section 2.1"


# memory, in bytes


@formula("parameters * bytes_each", "definition")
def weight_bytes(*, parameters: float, bytes_each: float) -> float:
    """Weights: of a model that writes, as stored; of one whose own weights are trained, in float32."""
    return parameters * bytes_each


@formula("4 * trained", MIXED_PRECISION)
def gradient_bytes(*, trained: float) -> float:
    """Gradients, in float32 as the weights that are trained."""
    return 4 * trained


@formula("8 * trained", f"AdamW, Loshchilov and Hutter 2019, arXiv 1711.05101: two moments in float32; {ZERO}")
def optimizer_bytes(*, trained: float) -> float:
    """State of the optimiser."""
    return 8 * trained


@formula("2 * matrices", "torch.autocast keeps a bfloat16 copy of each float32 matrix during a pass")
def cast_bytes(*, matrices: float) -> float:
    """Copies of float32 weights that automatic mixed precision computes with."""
    return 2 * matrices


@formula("whole / processes", f"{ZERO}: stage 3; FSDP2 divides the same")
def share_of_a_process(*, whole: float, processes: float) -> float:
    """What one of many processes keeps of what they have divided among themselves."""
    return whole / processes


@formula("(2 * layer + output) * bytes_each", FSDP2)
def gathered_bytes(*, layer: float, output: float, bytes_each: float) -> float:
    """Weights that FSDP2 has gathered: of the layer at work, of the next one, and of the output layer, which stay."""
    return (2 * layer + output) * bytes_each


@formula("2 * layer * bytes_each", f"{FSDP2}: a layer's gradients, and the buffer from which they are shared out")
def reduced_bytes(*, layer: float, bytes_each: float) -> float:
    """Gradients of a whole layer, until each process has its share of them."""
    return 2 * layer * bytes_each


@formula("min(parameters, max(layer, 1e9)) * bytes_each", f"{DEEPSPEED}: stage3_max_live_parameters, 1e9")
def live_bytes(*, parameters: float, layer: float, bytes_each: float) -> float:
    """Weights that DeepSpeed has gathered and not yet let go of."""
    return min(parameters, max(layer, 1e9)) * bytes_each


@formula("min(trained, 5e8) * bytes_each", f"{DEEPSPEED}: reduce_bucket_size, 5e8")
def reduced_bucket_bytes(*, trained: float, bytes_each: float) -> float:
    """Gradients that DeepSpeed collects before it shares them out."""
    return min(trained, 5e8) * bytes_each


@formula("4 * trained", "torch's DistributedDataParallel without gradient_as_bucket_view: as large as all gradients")
def bucket_bytes(*, trained: float) -> float:
    """Buckets in which processes that all have the whole model sum up their gradients."""
    return 4 * trained


@formula("tokens * hidden * layers * bytes_each", f"{ACTIVATIONS}.3: with full recomputation the input of each layer")
def checkpoint_bytes(*, tokens: float, hidden: float, layers: float, bytes_each: float) -> float:
    """What gradient checkpointing keeps: the input of each layer, in the type of the residual stream."""
    return tokens * hidden * layers * bytes_each


@formula(
    "tokens * layers * (4 * hidden * norms + bytes_each * (inputs * hidden + 2 * queries + 2 * kv + 4 * intermediate))",
    f"{ACTIVATIONS}.1, for RMS norms in float32, grouped heads, attention that keeps no scores, and SwiGLU",
)
def activation_bytes(
    *,
    tokens: float,
    layers: float,
    hidden: float,
    queries: float,
    kv: float,
    intermediate: float,
    norms: float,
    inputs: float,
    bytes_each: float,
) -> float:
    """What a backward pass finds of a forward pass that was not recomputed.

    Args:
        tokens: of the batch.
        layers: whose activations are there at a time: all of them, or one with gradient checkpointing.
        hidden: width of the residual stream.
        queries: width of all heads' queries together; as wide is what attention gives.
        kv: width of all heads' keys, and of their values.
        intermediate: width of the feed-forward part: its gate before and after SiLU, the other branch, the product.
        norms: float32 numbers of the residual stream's width that norms keep.
        inputs: copies of it that linear layers keep.
        bytes_each: of an activation.
    """
    linear = inputs * hidden + 2 * queries + 2 * kv + 4 * intermediate
    return tokens * layers * (4 * hidden * norms + bytes_each * linear)


@formula("tokens * (3 * intermediate + 2 * hidden) * bytes_each", "gradients of one layer's activations, ours")
def backward_bytes(*, tokens: float, hidden: float, intermediate: float, bytes_each: float) -> float:
    """What a backward pass computes with inside one layer."""
    return tokens * (3 * intermediate + 2 * hidden) * bytes_each


BFLOAT16 = 2
"""Bytes of a bfloat16."""
LOGIT_TILE = (4096, 32768)
"""Tokens and words of the vocabulary whose logits TRL 1.16 has in memory at a time (kernels/chunked_logprob.py)."""
LOGIT_TEMPORARIES = 7.25
"""Copies of a tile that its backward pass makes on a processor; on a GPU its kernel works in place."""


@formula(
    "min(tokens, 4096) * (32768 + temporaries * min(vocab, 32768)) * bytes_each + 8 * tokens * hidden + 4 * head",
    "TRL 1.16's fused output layer, kernels/chunked_logprob.py; all at once would be 4 * tokens * vocab",
)
def logit_bytes(
    *, tokens: float, vocab: float, temporaries: float, hidden: float, head: float, bytes_each: float
) -> float:
    """Logits of a training step, a tile at a time, and float32 gradients of the output layer and of its input.

    Args:
        tokens: of the batch.
        vocab: words of the vocabulary.
        temporaries: copies of a tile.
        hidden: width of the residual stream.
        head: weights of the output layer, if it is trained, else 0.
        bytes_each: of a logit.
    """
    rows, columns = LOGIT_TILE
    tile = min(tokens, rows) * (columns + temporaries * min(vocab, columns)) * bytes_each
    return tile + 8 * tokens * hidden + 4 * head


@formula(
    "2 * layers * kv * bytes_each", "keys and values of every layer; Kwon et al. 2023, arXiv 2309.06180, section 3"
)
def kv_bytes_per_token(*, layers: float, kv: float, bytes_each: float) -> float:
    """What the cache holds of one token."""
    return 2 * layers * kv * bytes_each


@formula("sequences * tokens * per_token / split", "Kwon et al. 2023, arXiv 2309.06180, section 3")
def cache_bytes(*, sequences: float, tokens: float, per_token: float, split: float) -> float:
    """The cache of so many sequences, divided among GPUs."""
    return sequences * tokens * per_token / split


@formula("share * memory - taken", "vLLM's gpu_memory_utilization: what weights and a first pass leave")
def cache_left_bytes(*, share: float, memory: float, taken: float) -> float:
    """Memory that vLLM has for its cache; negative if there is none."""
    return share * memory - taken


@formula(
    "tokens * (4 * hidden + 3 * intermediate / split) * bytes_each + 4 * rows * vocab", "ours, for one layer at a time"
)
def forward_bytes(
    *,
    tokens: float,
    hidden: float,
    intermediate: float,
    split: float,
    bytes_each: float,
    rows: float,
    vocab: float,
) -> float:
    """What a forward pass without gradients needs: one layer's activations, and float32 logits of the last tokens."""
    return tokens * (4 * hidden + 3 * intermediate / split) * bytes_each + 4 * rows * vocab


@formula("share * memory", "vLLM's gpu_memory_utilization, as grpo.rollouts.vllm_memory sets it")
def share_bytes(*, share: float, memory: float) -> float:
    """Memory that vLLM takes in a trainer's process."""
    return share * memory


# time, in seconds


@formula(
    "written / sequences * max((weights + sequences * context * cached) / bandwidth, 2 * active * sequences / flops)",
    ROOFLINE,
)
def decoding_seconds(
    *,
    written: float,
    sequences: float,
    weights: float,
    context: float,
    cached: float,
    active: float,
    bandwidth: float,
    flops: float,
) -> float:
    """The least time to write tokens: each step reads all weights and the cache of every sequence, or multiplies.

    Args:
        written: tokens.
        sequences: written side by side.
        weights: bytes.
        context: tokens of a sequence, halfway through.
        cached: bytes of a token's keys and values.
        active: weights that a token is multiplied with.
        bandwidth: bytes a second.
        flops: operations a second.
    """
    step = max((weights + sequences * context * cached) / bandwidth, 2 * active * sequences / flops)
    return written * step / sequences


@formula("2 * active * read / flops", f"{OPERATIONS}: two operations a weight and token")
def reading_seconds(*, read: float, active: float, flops: float) -> float:
    """The least time to read prompts."""
    return 2 * active * read / flops


FULL_OPERATIONS, LORA_OPERATIONS, RECOMPUTATION = 6, 4, 2
"""Operations a weight and token: forward 2, gradients of activations 2 and of weights 2, which frozen matrices do not
need. A forward pass once more is 2."""


@formula(
    "operations * active * tokens / flops", f"{OPERATIONS}; operations: 6, with LoRA 4, each recomputed forward 2 more"
)
def training_seconds(*, operations: float, active: float, tokens: float, flops: float) -> float:
    """The least time to learn from tokens, attention's own products left out."""
    return operations * active * tokens / flops


@formula("least / efficiency", "share of the roofline that is reached; see EFFICIENCY in sinternal.study.forecast")
def expected_seconds(*, least: float, efficiency: float) -> float:
    """The time to expect."""
    return least / efficiency
