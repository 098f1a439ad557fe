import pytest

from sinternal.registry import Kind
from tests.judges.scripted import ScriptedEngine
from tests.plugins import Register, opening


@pytest.fixture(autouse=True)
def engine(register: Register) -> ScriptedEngine:
    scripted = ScriptedEngine()

    def make(_model: str) -> ScriptedEngine:
        scripted.opened += 1
        return scripted

    register(Kind.ENGINE, "scripted", opening(make))
    return scripted
