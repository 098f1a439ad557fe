"""Text from a local Hugging Face model, in batches of similar length; torch is imported when a model is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sinternal.engines import Completion, Engine, Request
from sinternal.engines.local_options import TransformersOptions
from sinternal.models.presence import Presence, find_model
from sinternal.settings.sampling import Sampling

if TYPE_CHECKING:
    from sinternal.engines.transformers_generation import Generator


class TransformersEngine(Engine):
    """Generates with `model.generate` and its KV cache on the best device there is."""

    Options = TransformersOptions

    @classmethod
    def find(cls, model: str) -> Presence:
        """A directory, or an id on the hub; see `Engine.find`."""
        return find_model(model)

    def __init__(self, model: str, options: TransformersOptions) -> None:
        """Load a model: a directory, a registered source or a Hugging Face id; also a LoRA adapter that names its base.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or its tokenizer has no chat template.
        """
        from sinternal.engines.transformers_generation import Generator

        self.generator: Generator = Generator(model, options)

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        return self.generator.generate(requests, sampling, seed)

    def close(self) -> None:
        """Give the model's memory back."""
        self.generator.close()
