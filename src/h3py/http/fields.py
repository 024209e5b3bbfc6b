"""Header fields on their way out: text to bytes, and nothing forged in between.

Rules: a name is a token, a value is latin-1 text without CR, LF, NUL (RFC 9110
section 5.5) and without other control characters but HTAB; anything else is a
``ValueError`` that names the field. So no value an application passes on from a
client can end its line and begin another.

Fields repeat from response to response, so the checked bytes of short ones are
kept, a bounded number of them, in tables that any thread may use: entries are
only added or dropped, each in one step.
"""

from __future__ import annotations

import re
from typing import Final

from h3py.http.guards import TOKEN

Field = tuple[str, str]

MANAGED: Final = frozenset(
    ("connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade")
)
"""Names that have a say in framing, or are sent anyway: never encoded unseen."""

_NAME = re.compile(TOKEN.decode())
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_KEPT_FIELDS: Final = 512
_KEPT_LENGTH: Final = 128
_lines: dict[Field, bytes] = {}


def check_field(name: str, value: str) -> None:
    """Refuse a field that could not be sent as it is.

    Raises:
        TypeError: Name or value is not text.
        ValueError: The name is no token; the value holds a control character, or
            a character outside latin-1.
    """
    try:
        is_name = _NAME.fullmatch(name) is not None
        found = _BAD_VALUE.search(value)
    except TypeError:
        raise TypeError(f"a header is two str, not {name!r}: {value!r}") from None
    if not is_name:
        raise ValueError(f"{name!r} is not a header name")
    if found is not None:
        raise ValueError(f"header {name}: {found[0]!r} cannot stand in a value")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        bad = value[error.start]
        raise ValueError(f"header {name}: {bad!r} is not latin-1; encode it first") from None


def encode_field(field: Field) -> bytes | None:
    """The line of a field with its CRLF, or None for a ``MANAGED`` one (checked all the same).

    Raises:
        TypeError, ValueError: As ``check_field``.
    """
    line = _lines.get(field)
    if line is not None:
        return line
    name, value = field
    check_field(name, value)
    if name.lower() in MANAGED:
        return None
    line = f"{name}: {value}\r\n".encode("latin-1")
    if len(line) <= _KEPT_LENGTH:
        if len(_lines) >= _KEPT_FIELDS:
            _lines.clear()
        _lines[field] = line
    return line
