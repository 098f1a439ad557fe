"""The schemas that the command line prints."""

from __future__ import annotations

import json

import jsonschema
from typer.testing import CliRunner

from sinternal.cli.main import app
from sinternal.report.results import results_schema


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


def test_there_is_no_schema_of_anything_else() -> None:
    assert CliRunner().invoke(app, ["schema", "report"]).exit_code == 2
