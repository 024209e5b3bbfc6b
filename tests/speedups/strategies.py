"""Values for the property tests: mostly what is special to an event stream."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

LINE_ENDS = ["\n", "\r", "\r\n"]
NO_LINE_ENDS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
MEANINGFUL = [
    " ",
    "  ",
    ":",
    ": ",
    "data: x",
    "id: 1",
    "event: e",
    "retry: 9",
    "data",
    "id",
    "0",
    "+",
]
OTHER = ["\0", "\ufeff", "\ufffd", "\t", "\x7f", "é", "漢", "😀", "a", "b" * 40]
SURROGATES = ["\ud800", "\udfff", "\udc80"]


def _texts(*pieces: list[str]) -> st.SearchStrategy[str]:
    special = st.sampled_from([piece for group in pieces for piece in group])
    # Any character but surrogates and those that some group alone may bring.
    plain = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")
    return st.lists(st.one_of(special, special, plain), max_size=12).map("".join)


any_text = _texts(LINE_ENDS, NO_LINE_ENDS, MEANINGFUL, OTHER, SURROGATES)
texts = _texts(LINE_ENDS, NO_LINE_ENDS, MEANINGFUL, OTHER)
names = _texts(NO_LINE_ENDS, MEANINGFUL, OTHER)
ids = names.map(lambda text: text.replace("\0", ""))
retries = st.one_of(st.integers(0, 10_000), st.integers(0, 2**63 - 1), st.just(2**63 - 1))


@st.composite
def legal_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of a legal event."""
    fields = draw(
        st.fixed_dictionaries(
            {},
            optional={"data": texts, "event": names, "id": ids, "retry": retries, "comment": texts},
        )
    )
    if not fields or ("event" in fields and "data" not in fields):
        fields["data"] = draw(texts)
    return fields


_ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\n\r"]
_PARTS = [b":", b" ", b": ", b"\0", b"7", b"+5", b"99999999999999999999"]
_FIELDS = [b"data", b"data:", b"data: ", b"event: ", b"id: ", b"id", b"retry: ", b"Data: x"]
_LINES = [b"data: x\n\n", b"event: tick\n", b"id: 7\n", b"retry: 10\n", b": comment\n"]
_BOMS = [b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xef\xbb"]
_BROKEN = [b"\xed\xa0\x80", b"\xff", "漢".encode()[:2], b"\xf0\x9f", b"\xc0\x80"]
_WHOLE = ["é漢😀".encode(), b"\xe2\x80\xa8"]
_stream_pieces = st.one_of(
    st.sampled_from(_ENDS + _PARTS + _FIELDS + _LINES + _BOMS + _BROKEN + _WHOLE),
    st.binary(max_size=6),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")),
)
streams = st.lists(_stream_pieces, max_size=30).map(b"".join)


@st.composite
def chunked(draw: st.DrawFn, source: st.SearchStrategy[bytes] = streams) -> list[bytes]:
    """A stream cut into chunks, of which some are empty and many a byte long."""
    stream = draw(source)
    if draw(st.booleans()):
        return [stream[i : i + 1] for i in range(len(stream))]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
