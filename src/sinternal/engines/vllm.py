"""Text from a local model through vLLM, in this process: the engine for reasoning models on GPUs.

vLLM and torch are imported when a model is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sinternal.engines import Completion, Engine, Request
from sinternal.engines.local_options import VllmOptions
from sinternal.models.presence import Presence, find_model
from sinternal.settings.sampling import Sampling

if TYPE_CHECKING:
    from sinternal.engines.vllm_generation import Generator


class VllmEngine(Engine):
    """Generates with `vllm.LLM`."""

    Options = VllmOptions

    @classmethod
    def find(cls, model: str) -> Presence:
        """A directory, or an id on the hub; see `Engine.find`."""
        return find_model(model)

    def __init__(self, model: str, options: VllmOptions) -> None:
        """Load a model: a directory, a registered source or a Hugging Face id; also a LoRA adapter that names its base.

        Raises:
            EngineError: vLLM is not installed.
            ModelError: there is no such model, vLLM cannot serve it, or its tokenizer has no chat template.
        """
        from sinternal.engines.vllm_generation import Generator

        self.generator: Generator = Generator(model, options)

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        return self.generator.generate(requests, sampling, seed)

    def close(self) -> None:
        """End the process that holds the model, and with it give the GPU's memory back."""
        self.generator.close()
