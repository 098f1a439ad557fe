from __future__ import annotations

from pathlib import Path

import pytest

from sinternal.errors import ModelError
from sinternal.models.resolve import resolve_model


def test_a_directory_a_source_and_an_adapter_are_found(base_model: Path, tmp_path: Path) -> None:
    assert resolve_model(str(base_model)) == base_model
    assert resolve_model("microworld") == base_model
    (tmp_path / "adapter_config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == tmp_path


def test_a_source_that_was_not_fetched_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="run: sinternal fetch smollm2"):
        resolve_model("smollm2")


def test_what_can_be_no_model_lists_the_possibilities() -> None:
    with pytest.raises(ModelError, match=r"neither a model directory .*, nor a Hugging Face id, nor one of: .*smollm2"):
        resolve_model("no such thing")


def test_a_hub_out_of_reach_is_one_line_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match="someone/some-model is not in the cache and the hub cannot be reached; connect"
    ):
        resolve_model("someone/some-model")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GatedRepoError", r"is gated: accept its terms at https://huggingface\.co/a/b and set HF_TOKEN"),
        ("RepositoryNotFoundError", "the hub has no model 'a/b'"),
        ("RevisionNotFoundError", "a/b has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_mend(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx2 as httpx
    import huggingface_hub.errors as errors

    def refuse(*_: object, **__: object) -> str:
        response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/a/b"))
        raise getattr(errors, name)("refused", response=response)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match=message):
        resolve_model("a/b", "v9")


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja"])
def test_a_pipe_or_a_device_among_a_models_files_is_refused_and_never_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "gone").symlink_to("nowhere")
    assert resolve_model(str(tmp_path)) == tmp_path
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=rf"{name} is a pipe, a socket or a device"):
        resolve_model(str(tmp_path))
