"""Whether a model can be had, by a stand-in of the hub: nothing is downloaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sinternal.engines.llamacpp import LlamaCppEngine
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import ModelError
from sinternal.models.files import INDEX
from sinternal.models.presence import find_model
from tests.chat_models import qwen, save_model

STATUS = {
    "org/open": (200, ""),
    "org/adapter": (404, "EntryNotFound"),
    "org/gated": (403, "GatedRepo"),
    "org/gone": (401, "RepoNotFound"),
    "org/old": (404, "RevisionNotFound"),
    "org/broken": (503, ""),
}


@contextmanager
def hub() -> Iterator[str]:
    """Answers who asks about a file, as the hub does."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            status, code = STATUS["/".join(self.path.split("/")[1:3])]
            if self.path.startswith("/org/adapter/") and "adapter_config" in self.path:
                status, code = 200, ""
            self.send_response(status)
            for name, value in (("X-Error-Code", code), ("ETag", '"a"'), ("X-Repo-Commit", "0" * 40)):
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def on_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import huggingface_hub.constants as constants

    with hub() as address:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield


@pytest.mark.usefixtures("on_hub")
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("org/gated", "org/gated is gated: accept its terms at https://huggingface.co/org/gated and set HF_TOKEN"),
        ("org/gone", "the hub has no model 'org/gone', or it is private"),
        ("org/old", "org/old has no revision 'v2'"),
        ("org/broken", "the hub cannot be reached"),
    ],
)
def test_what_the_hub_does_not_hand_out_is_told_without_a_download(model: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        find_model(model, "v2")
    assert words in str(error.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("on_hub")
@pytest.mark.parametrize("model", ["org/open", "org/adapter"])
def test_what_it_hands_out_is_not_downloaded_either(model: str, tmp_path: Path) -> None:
    found = find_model(model)
    assert (found.folder, found.faults) == (None, ())
    assert f"{model} is on the hub" in found.words
    assert not (tmp_path / "cache").exists()


def test_a_model_of_which_one_of_several_files_is_missing_is_found_and_is_at_fault(tmp_path: Path) -> None:
    folder = save_model(qwen(), tmp_path / "m")
    assert find_model(str(folder)) == (str(folder), folder, ())
    names = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    found = find_model(str(folder))
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing"):
        found.check()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    assert any("00002-of-00002.safetensors is missing" in fault for fault in find_model(str(adapter)).faults)


def test_each_engine_looks_where_it_would_open_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model directory"):
        TransformersEngine.find(str(tmp_path / "nowhere"))
    assert OpenAIEngine.find("whatever the server calls it") is None
    (tmp_path / "m.gguf").write_bytes(b"GGUF and so on")
    LlamaCppEngine.find(str(tmp_path / "m.gguf")).check()
    (tmp_path / "m.gguf").write_bytes(b"something else")
    with pytest.raises(ModelError, match="no GGUF file"):
        LlamaCppEngine.find(str(tmp_path / "m.gguf")).check()
    with pytest.raises(ModelError, match=r"needs a \.gguf file on this disk"):
        LlamaCppEngine.find("org/model")
