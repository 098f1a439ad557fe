"""What stands beneath the help of each command: examples, and what every command takes."""

from __future__ import annotations

import textwrap

EVERYWHERE = "Every command takes --quiet (results and errors alone) and --debug (where an error comes from)."
EXIT_CODES = (
    "Exit codes: 0 done, 1 in part, 2 a mistake of yours, 3 budget spent, 130 interrupted; see docs/terminal.md."
)
WIDTH = 74
"""Characters of an example that fit into a line of a narrow terminal."""
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "sinternal run quickstart",
        "sinternal init my-study --model ./my-model --data prompts.jsonl",
        "sinternal diagnose --model gpt-4o-mini --base-url https://api.openai.com/v1",
        "sinternal --install-completion",
    ),
    "init": (
        "sinternal init",
        "sinternal init my-study --model Qwen/Qwen3-8B --data train.jsonl --eval eval.jsonl",
        "sinternal init my-study --data bad.csv:harmful --data good.csv:benign --base-url http://localhost:8000/v1 "
        "--judge-model Qwen/Qwen3Guard-Gen-8B --expert my-expert --yes",
    ),
    "check": (
        "sinternal check my-study.yaml",
        "sinternal check my-study.yaml --max-cost 50 --ask",
        "sinternal check quickstart --json",
    ),
    "run": (
        "sinternal run quickstart",
        "sinternal run my-study.yaml --set seeds=[0,1,2] --max-cost 50",
        "sinternal run my-study.yaml --again judge --json",
    ),
    "view": ("sinternal view", "sinternal view runs --no-browser"),
    "diagnose": (
        "sinternal diagnose --model runs/quickstart/sinternal",
        "sinternal diagnose --model my-model --base-url http://localhost:8000/v1 --max-tokens 1000000",
        "sinternal diagnose --model my-model --base-url http://localhost:8000/v1 --check",
    ),
    "judge": (
        "sinternal judge runs/my-study --with refusal-strings",
        "sinternal judge runs/my-study --with wildguard --option engine.name=openai "
        "--option engine.model=allenai/wildguard --option engine.options.base_url=http://localhost:8002/v1",
    ),
    "verify": (
        "sinternal verify --model runs/quickstart/sinternal pairs.jsonl",
        "sinternal verify --model my-model --base-url http://localhost:8000/v1 --prompt Hello --answer Hi",
    ),
    "agree": (
        "sinternal agree --with refusal-strings --sets refusal",
        "sinternal agree --verifier my-model --base-url http://localhost:8000/v1 --limit 200 --json",
    ),
    "compare": (
        "sinternal compare runs/a runs/b",
        "sinternal compare runs/a runs/b --arm-a sinternal --arm-b base --json",
    ),
    "fetch": ("sinternal fetch", "sinternal fetch smollm2"),
    "plan": (
        "sinternal plan my-study.yaml",
        "sinternal plan r1-distill-qwen-7b --hardware 2xH100 --explain",
        "sinternal plan my-study.yaml --hardware cpu --json",
    ),
    "report": (
        "sinternal report runs/quickstart",
        "sinternal report runs/quickstart --json",
        "sinternal report runs/quickstart --redact --to shared",
    ),
    "list": (
        "sinternal list",
        "sinternal list judges",
        "sinternal list judges qwen3guard",
        "sinternal list benchmarks --json",
    ),
    "show": ("sinternal show quickstart", "sinternal show r1-distill-qwen-7b > my-study.yaml"),
    "schema": ("sinternal schema recipe", "sinternal schema results"),
    "export": (
        "sinternal export runs/quickstart/sinternal my-model",
        "sinternal export data runs/quickstart/sinternal my-data",
    ),
    "export model": (
        "sinternal export model runs/quickstart/sinternal my-model",
        "sinternal export model runs/my-study/sinternal/1 my-adapter --base Qwen/Qwen3-8B",
        "sinternal export model runs/my-study/sinternal my-model --merge",
    ),
    "export data": (
        "sinternal export data runs/quickstart/sinternal my-data",
        "sinternal export data runs/quickstart/placebo/0 placebo-data",
    ),
    "export inspect": (
        "sinternal export inspect runs/quickstart",
        "sinternal export runs/quickstart --inspect --out logs --redact",
    ),
    "export verl": (
        "sinternal export verl runs/quickstart --out for-verl",
        "sinternal export verl r1-distill-qwen-7b --out for-verl --gpus 8 --arm sinternal",
    ),
    "push": (
        "sinternal push my-model --repo me/my-model",
        "sinternal push my-data --repo me/my-data --public --yes",
    ),
    "store": ("sinternal store size", "sinternal store check runs/quickstart"),
    "store check": ("sinternal store check", "sinternal store check runs/quickstart --json"),
    "store gc": ("sinternal store gc runs/quickstart", "sinternal store gc runs/quickstart --unfinished --yes"),
    "store size": ("sinternal store size", "sinternal store size runs/quickstart --json"),
    "world": ("sinternal world show --rows 3", "sinternal world build --to my-base"),
    "world build": (
        "sinternal world build --to my-base",
        "sinternal world build --seed 1 --set hidden=256 --to my-base",
    ),
    "world show": ("sinternal world show --rows 3", "sinternal world show --set link=0 --json"),
}
"""By command; the empty name is the command line itself."""


def epilog(command: str) -> str:
    """What stands beneath the help of a command."""
    examples = EXAMPLES.get(command, ())
    shown = "\n".join(["Examples:", *(f"  {_broken(example)}" for example in examples)])
    return "\n\n".join([*([shown] if examples else []), EVERYWHERE, *([] if command else [EXIT_CODES])])


def _broken(example: str) -> str:
    """A command over as many lines as it takes, as a shell reads it."""
    lines = textwrap.wrap(example, WIDTH, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    return " \\\n  ".join(lines)
