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


def schema(what: Annotated[SchemaName, typer.Argument(help="`results` (results.json) or `recipe` (YAML).")]) -> None:
    """Print a JSON schema: of results.json, to check or read it by, or of a recipe, for an editor to complete."""
    import json

    from sinternal.report.results import results_schema
    from sinternal.settings.recipe import Recipe

    described = results_schema() if what is SchemaName.RESULTS else Recipe.model_json_schema()
    typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
