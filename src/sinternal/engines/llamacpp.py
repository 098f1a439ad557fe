"""Text from a GGUF file, by llama.cpp's server, which this engine starts on the loopback interface and stops again.

The server is the one inside the package `xllamacpp`; it is asked like any other server. On a CPU it writes about twice
as fast as transformers does. It runs quantised weights: a model that is trained afterwards has none, so compare arms
through an engine that can run them all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import Field

from sinternal.engines import Completion, Engine, Request, TemplateOptions
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.openai_options import OpenAIOptions, Prefill
from sinternal.errors import ModelError
from sinternal.extras import require
from sinternal.models.presence import Presence, find_here
from sinternal.settings.sampling import Sampling

WINDOW = "repeat_last_n"
"""How far penalties look back: over all of the context, as everywhere else; llama.cpp's own default is 64 tokens."""

CLOSED = {
    "hostnames": ["127.0.0.1"],
    "cors_origins": "http://127.0.0.1",
    "cors_credentials": False,
    "ui": False,
    "endpoint_slots": False,
}
"""Settings of the server that keep out others on this machine, beside the key: a page that the user has open in a
browser can reach the port as well. By default llama.cpp allows every page to read what it says."""

MAGIC = b"GGUF"
"""What every such file begins with (ggml's docs/gguf.md)."""
NO_GGUF = "this is no GGUF file (it does not begin with GGUF); convert the model, or download it again"


class LlamaCppOptions(TemplateOptions):
    """Settings of this engine."""

    parallel: int = Field(16, ge=1)
    """Requests answered at once."""
    context: int = Field(2048, ge=64)
    """Tokens of prompt and completion that one request may take."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every call, for example a grammar."""


class LlamaCppEngine(Engine):
    """A server of its own for one GGUF file."""

    Options = LlamaCppOptions
    runs_one_model = True

    @classmethod
    def find(cls, model: str) -> Presence:
        """The GGUF file; see `Engine.find`."""
        file = gguf_file(model)
        return Presence(f"{file}: a GGUF file", faults=() if _is_gguf(file) else (f"{file}: {NO_GGUF}",))

    def __init__(self, model: str, options: LlamaCppOptions) -> None:
        """Start the server.

        Args:
            model: a GGUF file, or a model with one in its folder.
            options: how it is served.

        Raises:
            MissingExtraError: the package `xllamacpp` is missing.
            ModelError: there is no GGUF file, or the server cannot read it.
        """
        self.options = options
        require("engine llamacpp", "xllamacpp")
        xllamacpp = import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        file = gguf_file(model)
        params.model.path = str(file)
        params.n_parallel = self.options.parallel
        params.n_ctx = self.options.parallel * self.options.context
        params.port = 0  # any that is free
        params.verbosity = -1
        key = secrets.token_urlsafe(32)
        params.api_keys = [key]
        for name, value in CLOSED.items():
            if hasattr(params, name):  # older servers lack some
                setattr(params, name, value)
        try:
            self.server: Any = xllamacpp.Server(params)
        except RuntimeError as error:  # it never says why
            raise ModelError(f"{file}: {_why_unreadable(file, options)}") from error
        self.client = OpenAIEngine(
            "model",
            OpenAIOptions(
                base_url=f"{self.server.listening_address}/v1",
                concurrency=self.options.parallel,
                prefill=Prefill.TRAILING,
                fields={"repetition_penalty": "repeat_penalty"},
                chat_template_kwargs=self.options.chat_template_kwargs,
                thinking_tags=self.options.thinking_tags,
                extra_body={WINDOW: self.options.context, **self.options.extra_body},
            ),
            key,
        )

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        return self.client.generate(requests, sampling, seed)

    def close(self) -> None:
        """Stop the server."""
        self.server = None


def _why_unreadable(file: Path, options: LlamaCppOptions) -> str:
    """What is wrong with a file that the server has refused, as far as can be told from outside."""
    if not _is_gguf(file):
        return NO_GGUF
    return (
        f"llama.cpp cannot load it: the file ({file.stat().st_size:,} bytes) is cut short or damaged, its architecture "
        f"is newer than the package xllamacpp, or memory too small for it and {options.parallel} x {options.context} "
        "tokens of context; compare its size with the one where it comes from"
    )


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def gguf_file(model: str) -> Path:
    """The GGUF file of a model: the file itself, or the only one in its folder. Raises ModelError if there is none."""
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path
    folder = path if path.is_dir() else find_here(model)
    if folder is None:
        raise ModelError(f"{model}: engine llamacpp needs a .gguf file on this disk: download one, and name its path")
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise ModelError(f"{folder}: engine llamacpp needs one .gguf file there, it has {len(files)}")
    return files[0]
