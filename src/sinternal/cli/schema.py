"""`sinternal schema`: what the files look like that people write and programs read, as JSON schemas."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class SchemaName(StrEnum):
    """What there is a schema of."""

    RESULTS = "results"
    """`results.json`, which every run leaves."""
    RECIPE = "recipe"
    """A recipe, as people write it in YAML."""
    DIAGNOSIS = "diagnosis"
    """The settings of `sinternal diagnose`, as people write them in YAML."""


def schema(
    what: Annotated[SchemaName, typer.Argument(help="`results` (results.json), `recipe` or `diagnosis` (YAML).")],
) -> None:
    """Print a JSON schema: of results.json, to check or read it by, or of a recipe or diagnosis, for an editor.

    An editor that knows the YAML language server completes and explains the fields of a file whose first line is
    `# yaml-language-server: $schema=FILE`.
    """
    import json

    from sinternal.report.results import results_schema
    from sinternal.settings.diagnosis import Diagnosis
    from sinternal.settings.recipe import Recipe
    from sinternal.settings.words import Described

    match what:
        case SchemaName.RESULTS:
            described = results_schema()
        case SchemaName.RECIPE:
            described = Recipe.model_json_schema(schema_generator=Described)
        case SchemaName.DIAGNOSIS:
            described = Diagnosis.model_json_schema(schema_generator=Described)
    typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
