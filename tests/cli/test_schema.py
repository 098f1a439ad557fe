"""The schemas that the command line prints."""

from __future__ import annotations

import json

import jsonschema
import pytest
from pydantic import create_model
from typer.testing import CliRunner

from sinternal.cli.main import app
from sinternal.report.results import results_schema
from sinternal.settings.words import Described


def printed(what: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["schema", what])
    assert done.exit_code == 0, done.output
    content: dict[str, object] = json.loads(done.stdout)
    return content


def test_the_schema_of_results_is_that_of_the_library() -> None:
    assert printed("results") == json.loads(json.dumps(results_schema()))


def test_the_schema_of_a_recipe_knows_its_fields() -> None:
    schema = printed("recipe")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"target", "arms", "seeds", "judges"} <= set(schema["properties"])  # type: ignore[call-overload]


@pytest.mark.parametrize("what", ["recipe", "diagnosis"])
def test_an_editor_is_told_what_each_field_and_each_word_means(what: str) -> None:
    schema = printed(what)
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, part in {what: schema, **schema["$defs"]}.items():  # type: ignore[dict-item]
        for field, told in part.get("properties", {}).items():  # type: ignore[attr-defined]
            assert told.get("description"), f"{name}.{field}"
    judge = schema["$defs"]["JudgePlugin"]["properties"]["name"]  # type: ignore[index]
    assert {"qwen3guard", "refusal"} <= set(judge["examples"])
    subject = schema["$defs"].get("Subject")  # type: ignore[attr-defined]
    assert what == "diagnosis" or dict(zip(subject["enum"], subject["enumDescriptions"], strict=True))["length"]


def test_a_model_made_without_a_source_is_described_without_its_words() -> None:
    made = create_model("Made", size=(int, 3))
    assert made.model_json_schema(schema_generator=Described)["properties"]["size"]["default"] == 3


def test_there_is_no_schema_of_anything_else() -> None:
    assert CliRunner().invoke(app, ["schema", "report"]).exit_code == 2
