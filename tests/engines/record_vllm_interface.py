"""Write down the names of vLLM's interface that our engine uses, read from a wheel without installing it.

    pip download --no-deps vllm==0.33.0
    python tests/engines/record_vllm_interface.py vllm-0.33.0-*.whl

The wheel has 336 MB, asks for the CUDA libraries besides, and does nothing without a GPU, so the tests cannot count on
it. The source is parsed, not run; the result lies beside this file and is what test_vllm.py compares with.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path


def record(wheel: Path) -> dict[str, object]:
    with zipfile.ZipFile(wheel) as archive:

        def find(file: str, name: str) -> ast.ClassDef:
            tree = ast.parse(archive.read(f"vllm/{file}.py"))
            return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)

        llm = find("entrypoints/llm", "LLM")
        return {
            "version": wheel.name.split("-")[1],
            "LLM.__init__": sorted({*arguments(llm, "__init__"), *fields(find("engine/arg_utils", "EngineArgs"))}),
            "LLM.generate": arguments(llm, "generate"),
            "LLM attributes": sorted({*methods(llm), *assigned(llm)}),
            "LLMEngine attributes": sorted(assigned(find("v1/engine/llm_engine", "LLMEngine"))),
            "EngineCoreClient attributes": sorted(methods(find("v1/engine/core_client", "EngineCoreClient"))),
            "ModelConfig": fields(find("config/model", "ModelConfig")),
            "SamplingParams": fields(find("sampling_params", "SamplingParams")),
            "TokensPrompt": fields(find("inputs/llm", "TokensPrompt")),
            "LoRARequest": fields(find("lora/request", "LoRARequest")),
            "RequestOutput": arguments(find("outputs", "RequestOutput"), "__init__"),
            "CompletionOutput": fields(find("outputs", "CompletionOutput")),
            "LoRA ranks": constant(archive.read("vllm/config/lora.py"), "MaxLoRARanks"),
            "finish reasons": constant(archive.read("vllm/v1/engine/__init__.py"), "FINISH_REASON_STRINGS"),
        }


def fields(node: ast.ClassDef) -> list[str]:
    return [
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]


def methods(node: ast.ClassDef) -> list[str]:
    return [item.name for item in node.body if isinstance(item, ast.FunctionDef)]


def arguments(node: ast.ClassDef, method: str) -> list[str]:
    function = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == method)
    return [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)][1:]


def assigned(node: ast.ClassDef) -> set[str]:
    """The attributes that the class gives itself."""
    return {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store) and ast.unparse(item.value) == "self"
    }


def constant(source: bytes, name: str) -> list[object]:
    """The literals in what is assigned to a name at the top of a file."""
    assignment = next(
        item for item in ast.parse(source).body if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == name
    )
    return [item.value for item in ast.walk(assignment.value) if isinstance(item, ast.Constant)]


if __name__ == "__main__":
    found = record(Path(sys.argv[1]))
    out = Path(__file__).with_name(f"vllm_{str(found['version']).replace('.', '_')}.json")
    out.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")
