"""What the core does not bring: training, local models, the hub and more are extras of the package.

Whoever only diagnoses, judges or compares through servers installs no torch. A feature whose packages are missing says
so in one line, with the command that installs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from sinternal.errors import MissingExtraError

EXTRAS: Mapping[str, str] = {
    "accelerate": "train",
    "datasets": "hub",
    "deepspeed": "deepspeed",
    "gguf": "llamacpp",
    "huggingface_hub": "hub",
    "inspect_ai": "inspect",
    "inspect_evals": "inspect",
    "math_verify": "math",
    "mlflow": "mlflow",
    "peft": "train",
    "ray": "ray",
    "superred": "superred",
    "tensorboard": "tensorboard",
    "tokenizers": "train",
    "torch": "train",
    "trackio": "trackio",
    "transformers": "train",
    "trl": "train",
    "vllm": "vllm",
    "wandb": "wandb",
    "xllamacpp": "llamacpp",
}
"""The extra of pyproject.toml that installs a module."""
TRAINING = ("torch", "transformers", "peft", "accelerate", "datasets", "trl")
"""Modules that training takes."""
ENGINES: Mapping[str, tuple[str, ...]] = {
    "llamacpp": ("xllamacpp",),
    "ray": ("ray",),
    "transformers": ("torch", "transformers", "peft"),
    "vllm": ("vllm", "peft"),
}
"""Modules that the built-in engines take."""


def is_there(module: str) -> bool:
    """Whether a top-level module can be imported; it is not."""
    try:
        return find_spec(module) is not None
    except ValueError:  # what stands for it among the imported ones is no module
        return False


def require(feature: str, *modules: str) -> None:
    """Make sure that the packages of a feature are installed.

    Args:
        feature: what needs them, as the message begins: `engine transformers`.
        modules: top-level modules, all of them in `EXTRAS`.

    Raises:
        MissingExtraError: one is missing.
    """
    for module in modules:
        if not is_there(module):
            raise missing(feature, module)


def missing(feature: str, module: str) -> MissingExtraError:
    """The error of a feature whose module is not there."""
    return MissingExtraError(
        f"{feature} needs {module}, which is not installed: pip install 'sinternal[{EXTRAS[module]}]'"
    )


def explained(error: ModuleNotFoundError, feature: str) -> Exception:
    """A failed import as an error for people, if an extra brings the module; else the error itself."""
    module = (error.name or "").partition(".")[0]
    return missing(feature, module) if module in EXTRAS else error
