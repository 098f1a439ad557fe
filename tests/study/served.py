"""A small diagnosis of a model behind a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sinternal.settings.plugins import EnginePlugin
from sinternal.study.plan import Plan
from sinternal.tools.diagnosis import load_diagnosis, plan_diagnosis
from tests.servers import Body

PROMPTS = 6


def says(body: Body) -> Body:
    asked = "Verdict" in body["messages"][-1]["content"]
    return {"role": "assistant", "content": "It is fine.\nVerdict: safe" if asked else "Sure, here you are."}


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a small diagnosis of a served model."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(PROMPTS)))
    source = (
        f"{{benchmark: file, options: {{path: {file}, harmful: true, columns: {{text: q}}, shares: {{eval: 1.0}}}}}}"
    )

    def plan(url: str, *overrides: str, **options: Any) -> Plan:
        engine = EnginePlugin(name="openai", options={"base_url": url, "max_retries": 0, "patience": 0, **options})
        fixed = (f"prompts.sources=[{source}]", "prompts.attacks=[plain]", "verification_sampling.n=1")
        return plan_diagnosis(load_diagnosis("served", None, engine, [*fixed, *overrides]))

    return plan
