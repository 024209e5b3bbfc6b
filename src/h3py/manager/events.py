"""What a manager's calls are given, checked and made ready for the engine.

Plain functions without state. Names (of channels, users, clients) are text of a
bounded size; an event is a name with data, or an ``SSEEvent`` alone; metadata is
text by text, because that is what subscribers' conditions are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from h3py._speedups.format import SSEEvent


def make_event(event: str | SSEEvent, data: Any, event_id: str | None) -> SSEEvent:
    """The event of a ``send_*`` call.

    Args:
        event: A name, or an event alone.
        data: With a name: None is an empty ``data`` line, text goes as it is, anything
            else becomes JSON.
        event_id: With a name: the event's id.

    Raises:
        TypeError: Bytes as data; data or an id besides an event; something else than
            an event or a name; data that JSON cannot express.
        ValueError: A name or id that cannot be sent.
    """
    if isinstance(event, SSEEvent):
        if data is not None or event_id is not None:
            raise TypeError("give an SSEEvent alone, or a name with data and id")
        return event
    if not isinstance(event, str):
        raise TypeError(f"event must be a name or an SSEEvent, not {type(event).__name__}")
    if data is None:
        return SSEEvent("", event, event_id)
    if isinstance(data, str):
        return SSEEvent(data, event, event_id)
    if isinstance(data, bytes | bytearray | memoryview):
        raise TypeError("bytes are no text: send SSEEvent.binary(data), which encodes them")
    return SSEEvent.json(data, event, event_id)


def check_name(kind: str, name: str, max_bytes: int) -> str:
    """A name as it is, if it is one.

    Raises:
        TypeError: Not a ``str``.
        ValueError: Empty, above ``max_bytes`` of UTF-8, or not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError(f"{kind} must not be empty")
    size = check_text(kind, name)
    if size > max_bytes:
        raise ValueError(f"{kind} must be at most {max_bytes} bytes, not {size}")
    return name


def check_text(kind: str, text: str) -> int:
    """How many bytes of UTF-8 a text is; ``ValueError`` if there are none: a lone surrogate."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{kind} is no text: {error}") from error


def check_names(kind: str, names: Iterable[str], max_bytes: int) -> tuple[str, ...]:
    """Names, each once, in their order; raises as ``check_name``."""
    if isinstance(names, str | bytes):
        raise TypeError(f"{kind}: give a list of names, not one {type(names).__name__}")
    return tuple(dict.fromkeys(check_name(kind, name, max_bytes) for name in names))


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Metadata as text by text: numbers and booleans as JSON writes them.

    Raises:
        TypeError: A key that is no ``str``, or a value that is no text, number or boolean.
        ValueError: A key that begins with NUL; what is not UTF-8.
    """
    if not metadata:
        return None
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}")
    return {check_key("metadata", key): as_text(key, value) for key, value in metadata.items()}


def check_key(kind: str, key: object) -> str:
    """A key of metadata, or of a condition on it; raises as ``check_metadata``."""
    if not isinstance(key, str):
        raise TypeError(f"{kind}: keys must be str, not {key!r}")
    if key.startswith("\0"):
        raise ValueError(f"{kind}: keys that begin with NUL are the manager's own")
    return key


def as_text(key: str, value: object) -> str:
    """One value of metadata, or of a condition on it, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"metadata: {key!r} must be text, a number or a boolean, not {value!r}")
