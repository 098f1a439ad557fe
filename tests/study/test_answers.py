"""What arms answered, as rows for others to work with."""

from __future__ import annotations

from pathlib import Path

import sinternal
from sinternal.records import Measured, Verification
from sinternal.store import read_table


def test_own_verdicts_are_in_measured_parquet_and_in_answers(tiny_run: Path) -> None:
    run = sinternal.Run.open(tiny_run)
    rows = {
        (row.prompt_id, row.sample): row
        for row in read_table(tiny_run / "measured.parquet", Measured)
        if (row.arm, row.seed) == ("base", run.recipe.seeds[0])
    }
    answers = list(sinternal.answers(run, "base"))
    assert len(answers) == len(rows)
    for answer in answers:
        row = rows[answer.prompt.id, answer.response.sample]
        assert answer.verified_with_spec == row.verified_with_spec
        assert answer.verified_without_spec == row.verified_without_spec
    words = {row.verified_with_spec for row in rows.values()} | {row.verified_without_spec for row in rows.values()}
    assert {"safe", "unsafe"} <= words <= {"safe", "unsafe", "unparsed", None}
    verified = run.store.find("self_verify", run.arm_keys("base").verifications)
    first = {(v.response_id, v.with_spec): str(v.verdict or "unparsed") for v in verified.rows(Verification)}
    assert all(first.get((a.response.id, True)) == a.verified_with_spec for a in answers)
