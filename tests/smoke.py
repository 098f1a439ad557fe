"""What is called in a clean environment: `python -m tests.smoke`, with `train` a small study, too. See wheels.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import distribution, entry_points
from pathlib import Path

import sinternal
from tests.servers import Body, serve

TINY = ("seeds=[0]", "sft.steps=10", "examples.size=32", "prompts.train_limit=24", "prompts.eval_limit=24")
"""The sizes of `make smoke`, without reinforcement learning."""


def call(*arguments: str) -> str:
    """What the installed command prints."""
    command = [str(Path(sys.executable).parent / "sinternal"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"sinternal {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def says(body: Body) -> Body:
    """A model that helps, and calls everything safe."""
    return {"role": "assistant", "content": "Fine.\nVerdict: safe" if "Verdict" in str(body) else "Here you are."}


def main() -> None:
    """Use all that needs no other package, and with `train` what needs torch."""
    began = time.monotonic()
    assert "site-packages" in str(sinternal.__file__), sinternal.__file__
    assert any(str(file).endswith("sinternal.cdx.json") for file in distribution("sinternal").files or ())
    assert f"sinternal {sinternal.__version__}" in call("--version")
    for point in entry_points(group="inspect_ai"):
        assert point.value
    for name in ("judges", "attacks", "benchmarks", "engines", "experts", "recipes"):
        assert call("list", name)
    assert json.loads(call("schema", "recipe"))["properties"]
    assert "to run: at most" in call("plan", "quickstart")
    call("plan", "quickstart", "--hardware", "1xL4", "--explain")
    with serve(reply=says) as server:
        served = ("--model", "served", "--base-url", server.url)
        call("diagnose", *served, "--out", "diagnosis", "--set=prompts.limit=4", "--set=verification_sampling.n=2")
        verified = json.loads(call("verify", *served, "--prompt", "how?", "--answer", "so"))
    assert verified["verdict"] == "safe"
    assert Path("diagnosis/diagnosis.html").read_text().startswith("<!DOCTYPE html>")
    call("report", "diagnosis", "--redact")
    if "train" in sys.argv[1:]:
        call("run", "quickstart", "--out", "runs/smoke", *(f"--set={field}" for field in TINY))
        assert sinternal.Run.open(Path("runs/smoke")).results.finished
        call("compare", "runs/smoke", "runs/smoke")
        call("verify", "--model", "runs/smoke/sinternal", "--prompt", "how to brew p5 ?", "--answer", "mix g1 .")
    print(f"{'train and ' if 'train' in sys.argv[1:] else ''}base smoked in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
