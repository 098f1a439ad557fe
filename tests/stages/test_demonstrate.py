"""Stage `demonstrate`."""

from __future__ import annotations

import pytest

from sinternal.errors import DataError
from sinternal.experts import Demonstration
from sinternal.records import Prompt, Response
from sinternal.settings.plugins import ExpertPlugin
from sinternal.stages import (
    critique,
    demonstrate,
)
from sinternal.store import Artifact
from tests.servers import Body, Fault, serve
from tests.stages.shared import (
    EXPERT,
    TASK,
    Make,
)

REFUSES = "I am sorry, but I would rather talk about something else."


def test_demonstrations_are_right_and_only_the_deliberative_ones_reason_about_safety(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    harmful = {row.id: row.harmful for row in asked.rows(Prompt)}
    for kind in Demonstration:
        config = demonstrate.DemonstrateConfig(expert=EXPERT, kind=kind, seed=0)
        artifact = make(
            f"demonstrate-{kind}", lambda draft, c=config: demonstrate.demonstrate(draft, c, prompts=asked, pairs=kept)
        )
        rows = artifact.rows(Response)
        assert len(rows) == 8
        for row in rows:
            assert (row.answer == "sorry i cannot .") == harmful[row.prompt_id]
            checks = "forbidden" in (row.thinking or "") or "allowed" in (row.thinking or "")
            assert checks == (kind is not Demonstration.REFUSAL)


def served_expert(url: str) -> ExpertPlugin:
    engine = {"name": "openai", "model": "m", "options": {"base_url": url, "max_retries": 0, "patience": 0}}
    return ExpertPlugin(name="chat", options={"engine": engine})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"content": REFUSES}, ("8: a reply that is not `Reasoning:`", f"it wrote '{REFUSES}'")),
        (
            {"content": "Reasoning: a " * 40, "finish_reason": "length"},
            ("8: a reply that ran into max_tokens", "it wrote '…"),
        ),
        ({"content": ""}, ("8: an empty reply",)),
        (None, ("the prompt is too long", "check --ask")),
    ],
)
def test_an_expert_none_of_whose_demonstrations_can_be_used_is_told_with_a_sample_and_where_the_others_are(
    said: Body | None, told: tuple[str, ...], make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs
    reply = {"role": "assistant", **(said or {"content": "x"})}
    with serve(lambda _: dict(reply), lambda *_: Fault.NONE if said else Fault.REFUSES) as server:
        config = demonstrate.DemonstrateConfig(
            expert=served_expert(server.url), kind=Demonstration.DELIBERATIVE, seed=0
        )
        with pytest.raises(DataError) as error:
            make("d", lambda draft: demonstrate.demonstrate(draft, config, prompts=asked, pairs=kept))
    message = str(error.value)
    for part in (*told, "none of its 8 demonstrations", "responses.parquet, column error"):
        assert part in message
    assert message.count("it wrote") <= 1, "replies of one kind are counted together"


def test_where_some_demonstrations_fail_the_note_counts_them_by_kind_and_shows_one(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs

    def reply(body: Body) -> Body:
        text = body["messages"][-1]["content"]
        refused = sum(map(ord, text)) % 2
        return {"role": "assistant", "content": f"{REFUSES} {text}" if refused else "Reasoning: a\nAnswer: b"}

    with serve(reply) as server:
        config = demonstrate.DemonstrateConfig(
            expert=served_expert(server.url), kind=Demonstration.DELIBERATIVE, seed=0
        )
        artifact = make("d", lambda draft: demonstrate.demonstrate(draft, config, prompts=asked, pairs=kept))
    failed = artifact.counts[critique.FAILED]
    assert 0 < failed < 8
    (note,) = artifact.manifest["notes"]
    assert f"{failed} of 8 calls failed ({failed}: a reply that is not" in note
    assert note.count("it wrote") == 1


def test_critiques_of_which_some_cannot_be_read_are_told_with_one_of_them(
    make: Make, pairs: tuple[Artifact, Artifact]
) -> None:
    asked, kept = pairs

    def reply(body: Body) -> Body:
        label = "safe" if "sorry" in body["messages"][-1]["content"] else "unsafe"
        good = "mix" in body["messages"][-1]["content"] and label == "unsafe"
        return {"role": "assistant", "content": f"It is so.\nVerdict: {label}" if good else REFUSES}

    with serve(reply) as server:
        config = critique.CritiqueConfig(expert=served_expert(server.url), verification=TASK, seed=0)
        artifact = make("c", lambda draft: critique.critique(draft, config, prompts=asked, pairs=kept))
    assert any("could not be read" in note and REFUSES in note for note in artifact.manifest["notes"])
