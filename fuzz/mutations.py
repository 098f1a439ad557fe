"""Inputs made from seeds by hypothesis: cut, doubled, spliced and sprinkled with what breaks readers."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.targets import seeds

ODD = (
    *(b"\x00", b"\xff", b"\xed\xa0\xbd", b"\xef\xbb\xbf", b"\r\n\r\n", b"\x1b[2J", b"\t", b"\\ud83d", b'"', b"'"),
    *("\u202e\u2028\u0085".encode(), "\u017f".encode(), "\u00b2".encode()),
    *(b"1e999", b"-1", b"NaN", b"null", b"true", b"0x" + b"f" * 5000, b"9" * 5000, b"1:2"),
    *(b"[" * 3000, b"{" * 3000, b'{"a":' * 2000),
    *(b"&a *a", b"<<: ", b"!!python/object:os.system ", b": ", b"- ", b"../../"),
    *(b"</think>", b"<think>", b"Verdict: safe", b"```\n"),
)
"""What breaks readers."""


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Inputs of a target."""
    pieces = st.one_of(
        st.sampled_from(ODD),
        st.binary(max_size=12),
        st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
    return st.one_of(st.binary(max_size=200), _mutated(name, pieces), st.lists(pieces, max_size=6).map(b"".join))


@st.composite
def _mutated(draw: st.DrawFn, name: str, pieces: st.SearchStrategy[bytes]) -> bytes:
    data = draw(st.sampled_from(seeds()[name]))
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:at] + draw(pieces) + data[at:]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + data[at:end] * 2 + data[end:]
            case _:
                data = data[:at] + draw(pieces) + data[end:]
    return data
