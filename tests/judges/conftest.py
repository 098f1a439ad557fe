import pytest

from tests.judges.scripted import ScriptedEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    scripted = ScriptedEngine()

    def make(_model: str, _options: dict[str, object]) -> ScriptedEngine:
        scripted.opened += 1
        return scripted

    monkeypatch.setattr("sinternal.judges.guard.load", lambda _kind, _name: make)
    return scripted
