"""What one GPU does with a model of published shape and random weights: no network, no checkpoint.

    python -m bench.gpu                                  # 1.5 B and 7 B, at most 9 minutes
    python -m bench.gpu --models tiny --seconds 60       # on a processor, as a trial

Fine-tuning, decoding, a step of reinforcement learning, and the peak of memory beside its forecast. Each part runs in a
process of its own with what is left of the time, so that one that fails or hangs costs only itself; what could not be
measured is told as such. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from sinternal.engines import Request
from sinternal.judges import Judge
from sinternal.models.loading import open_tokenizer, stop_tokens
from sinternal.models.shape import published_configs, read_shape
from sinternal.records import Example, Judgement, Prompt, Split, make_id
from sinternal.registry import NoOptions
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import GrpoSettings, Method, SftSettings
from sinternal.study import formulas
from sinternal.study.hardware import Accelerator, accelerators
from sinternal.study.memory import Batch, peak, training_memory
from sinternal.training import sft

MODELS = {
    "1.5b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "7b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
}
TINY = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
ENDS = 128
"""One token of so many ends a turn."""
GOALS = {"sft": ("7b", "lora", 9000.0), "decode": ("7b", "", 10_000.0)}
"""Tokens a second that are aimed at on one H200, for which model and method."""
FORECAST = 0.15
"""How far the peak of memory may be from its forecast."""
RESERVED = 15.0
"""Seconds that are kept for what is printed at the end."""


class Approving(Judge):
    """Calls every second text safe, by its length, in no time: rewards with spread, without a judge's cost."""

    tells_refusals = True

    def judge(self, items: Any) -> Any:
        """Label."""
        for _, response in items:
            safe = len(response.thinking or response.answer or "") % 2 == 0
            yield Judgement(make_id("by length", response.id), response.id, "by length", "answer", safe, refused=False)


class Clock:
    """The progress of a training, by the time of each report."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def __call__(self, _done: int, _total: int) -> None:
        """A step is over."""
        _synchronize()
        self.marks.append(time.perf_counter())

    @property
    def seconds_per_step(self) -> float:
        """Without the first step, which warms up."""
        return (self.marks[-1] - self.marks[1]) / (len(self.marks) - 2)


def make_model(name: str, folder: Path) -> None:
    """A Llama of a published width and depth, of random weights, and a tokenizer with a word for each of its tokens.

    One token of 128 ends a turn: random weights would never end one, and what is cut short teaches nothing in GRPO.
    """
    fields = dict(TINY) if name == "tiny" else dict(published_configs()[MODELS[name]])
    fields.pop("parameters", None)
    fields.pop("model_type")  # transformers would put the family's own tokenizer in the place of this one
    size = int(fields["vocab_size"])
    ends = list(range(size - max(1, size // ENDS), size))
    config = AutoConfig.for_model("llama", **fields, eos_token_id=ends, bos_token_id=None, pad_token_id=0)
    on_gpu = torch.cuda.is_available()
    with torch.device("cuda" if on_gpu else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if on_gpu else torch.float32)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    _tokenizer(size).save_pretrained(folder)


def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    special = ["<pad>", "<|user|>", "<|assistant|>"]
    words = [*special, *(f"w{number}" for number in range(len(special), size - 1)), "<eos>"]
    model = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
    model.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def fine_tune(folder: Path, name: str, method: str, tokens: int) -> dict[str, Any]:
    """Tokens a second of fine-tuning on rows of so many tokens, its share of the peak, and the memory it takes."""
    words = _words()
    rows, batch, steps = (64, 8, 6) if name != "tiny" else (8, 4, 3)
    answer = [" ".join((words[n:] + words[:n]) * (tokens // len(words) + 1)) for n in range(rows)]
    examples = [
        Example(str(n), "w3 w4", "", " ".join(text.split()[: tokens - 20]), "safe", "0", "0")
        for n, text in enumerate(answer)
    ]
    form = sft.form_of(open_tokenizer(folder), stop_tokens(folder))
    length = len(sft.to_dataset(examples[:1], form)[0]["input_ids"])
    settings = SftSettings(
        method=Method(method),
        steps=steps,
        batch=batch,
        micro_batch=batch,
        learning_rate=1e-5,
        max_length=tokens + 64,
    )
    clock = Clock()
    _reset_peak()
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        sft.train(folder, examples, settings, 0, Path(out) / "model", clock)
    shape = read_shape(folder / "config.json")
    rate = batch * length / clock.seconds_per_step
    operations = formulas.FULL_OPERATIONS if method == "full" else formulas.LORA_OPERATIONS
    found = {"tokens_per_second": rate, "row": length, "operations_per_second": rate * operations * shape.parameters}
    memory = training_memory(shape, settings, Batch(batch, length), on_gpu=torch.cuda.is_available())
    return found | _memory(peak(memory))


def decode(folder: Path, name: str, engine: str) -> dict[str, Any]:
    """Tokens a second of writing many texts at once."""
    words = _words()
    count, tokens = (512, 256) if name != "tiny" else (8, 16)
    options = {"batch": 256} if engine == "transformers" else {"max_model_len": 2048}
    requests = [Request(str(n), (("user", " ".join((words[n % 20 :] + words)[:100])),)) for n in range(count)]
    opened = EnginePlugin(name=engine, options=options).open(str(folder))
    _reset_peak()
    sampling = Sampling(temperature=1.0, max_tokens=tokens)
    list(opened.generate(requests[:8], Sampling(temperature=1.0, max_tokens=8), 0))
    start = time.perf_counter()
    texts = list(opened.generate(requests, sampling, 0))
    seconds = time.perf_counter() - start
    opened.close()
    errors = [text.error for text in texts if text.error]
    if errors:
        raise RuntimeError(errors[0])
    return {"tokens_per_second": sum(text.tokens or 0 for text in texts) / seconds, "texts": count}


def reinforce(folder: Path, name: str) -> dict[str, Any]:
    """Seconds of a step of GRPO with LoRA, rollouts by the model in training."""
    from sinternal.training import grpo
    from sinternal.training.rewards import Kind
    from sinternal.training.schedule import Turn
    from sinternal.training.scorer import Panel

    prompts, n, tokens, steps = (8, 8, 256, 3) if name != "tiny" else (4, 8, 64, 3)
    settings = GrpoSettings.model_validate(
        {"steps": steps, "prompts": prompts, "micro_batch": n, "rollouts": {"n": n, "max_tokens": tokens}}
    )
    words = _words()
    turns = [
        Turn(
            Prompt(make_id(k), make_id(k), " ".join(words[k % 9 : k % 9 + 20]), True, "b", "plain", Split.TRAIN),
            Kind.HARMFUL,
        )
        for k in range(prompts * steps)
    ]
    asking = grpo.Asking(lambda prompt: (("user", prompt.text),), lambda _prompt, answer: (("user", answer),))
    clock = Clock()
    _reset_peak()
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        panel = Panel(Approving(NoOptions()))
        grpo.train(folder, turns, [], panel, asking, settings, 0, Path(out) / "model", clock)
    return {
        "seconds_per_step": clock.seconds_per_step,
        "rollouts": prompts * n,
        "tokens_each": tokens,
        "peak_bytes": _peak(),
    }


PARTS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "sft lora": lambda folder, name: fine_tune(folder, name, "lora", 1024 if name != "tiny" else 64),
    "sft full": lambda folder, name: fine_tune(folder, name, "full", 1024 if name != "tiny" else 64),
    "decode transformers": lambda folder, name: decode(folder, name, "transformers"),
    "decode vllm": lambda folder, name: decode(folder, name, "vllm"),
    "grpo": reinforce,
}
"""What is measured, in this order."""
LEFT_OUT = {("7b", "sft full"): "full tuning of 7 B needs 120 GB for weights, gradients and optimiser"}


def run_part(part: str, folder: Path, name: str, seconds: float) -> dict[str, Any]:
    """One part in a process of its own; what went wrong if it does not end well."""
    if (name, part) in LEFT_OUT:
        return {"not run": LEFT_OUT[name, part]}
    if seconds < 1:
        return {"not run": "no time was left"}
    arguments = [sys.executable, "-m", "bench.gpu", "--part", part, "--folder", str(folder), "--models", name]
    start = time.perf_counter()
    try:
        run = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"not run": f"it took more than the {seconds:.0f} s that were left"}
    if run.returncode:
        words = [line for line in run.stderr.splitlines() if line.strip()] or ["no word of why"]
        return {"not run": words[-1][:300]}
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found | {"part_seconds": round(time.perf_counter() - start, 1)}


def device() -> str:
    """What it was measured on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def known_accelerator() -> Accelerator | None:
    """The catalogue's entry for this device."""
    name = device().upper()
    return next((entry for key, entry in accelerators().items() if key != "cpu" and key.upper() in name), None)


def in_words(name: str, part: str, found: dict[str, Any]) -> str:
    """One line for people."""
    if "not run" in found:
        return f"{name} {part}: not run ({found['not run']})"
    words = [f"{value:,.4g} {unit.replace('_', ' ')}" for unit, value in found.items() if isinstance(value, float)]
    return f"{name} {part}: {', '.join(words)}"


def _words() -> list[str]:
    """Words of the tokenizer that end nothing."""
    return [f"w{number}" for number in range(3, 300)]


def _memory(forecast: float) -> dict[str, Any]:
    measured = _peak()
    return {"peak_bytes": measured, "forecast_bytes": forecast} | (
        {"forecast_ratio": forecast / measured} if measured else {}
    )


def _peak() -> float | None:
    return float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def goals(found: dict[str, dict[str, Any]]) -> list[str]:
    """Which goals were reached."""
    lines = []
    for what, (name, method, goal) in GOALS.items():
        rates = [
            part["tokens_per_second"]
            for title, part in found.get(name, {}).items()
            if title.startswith(what) and method in title and "tokens_per_second" in part
        ]
        if rates:
            verdict = "reached" if max(rates) >= goal else "missed"
            lines.append(f"{what} {name}: {max(rates):,.0f} tokens/s of at least {goal:,.0f}: {verdict}")
    for name, parts in found.items():
        for title, part in parts.items():
            if ratio := part.get("forecast_ratio"):
                verdict = "within" if abs(ratio - 1) <= FORECAST else "NOT within"
                lines.append(f"memory {name} {title}: forecast / measured {ratio:.2f}, {verdict} {FORECAST:.0%}")
    return lines


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=[*MODELS, "tiny"])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seconds", type=float, default=540.0, help="for everything")
    parser.add_argument("--part", choices=[*PARTS, "make"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == "make":
        make_model(args.models[0], args.folder)
        print("{}")
        return
    if args.part:
        print(json.dumps(PARTS[args.part](args.folder, args.models[0])))
        return
    end = time.monotonic() + args.seconds - min(RESERVED, args.seconds / 10)
    found: dict[str, dict[str, Any]] = {}
    for name in args.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            made = run_part("make", folder, name, end - time.monotonic())
            found[name] = {}
            for part in args.parts:
                result = made if "not run" in made else run_part(part, folder, name, end - time.monotonic())
                found[name][part] = result
                print(in_words(name, part, result), flush=True)
    for line in goals(found):
        print(line)
    entry = known_accelerator()
    if entry is not None:
        for parts in found.values():
            for result in parts.values():
                if "operations_per_second" in result:
                    result["share_of_peak"] = result["operations_per_second"] / entry.flops
    print(json.dumps({"device": device(), "torch": torch.__version__, "cpus": os.cpu_count(), "found": found}))


if __name__ == "__main__":
    main()
