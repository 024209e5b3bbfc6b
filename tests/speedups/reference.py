"""What an event stream means, word by word from the standards and as slowly as they say it.

The compiled formatter and parser are held against this page, so it shares
nothing with them: it decodes the whole stream first, by the steps of WHATWG
Encoding section 4.1 and 8.1.1, cuts it into lines with a regular expression, and
walks through the steps of WHATWG HTML section 9.2.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

END_OF_LINE = re.compile("\r\n|\n|\r")
END_OF_LINE_BYTES = re.compile(b"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"

Event = tuple[str, str, str]
"""Type, data, last event id."""


@dataclass
class Stream:
    """What a reader knows after a stream."""

    events: list[Event] = field(default_factory=list)
    retry: int | None = None
    last_event_id: str = ""
    comments: int = 0


def utf8_decode(stream: bytes) -> str:
    """WHATWG Encoding: "UTF-8 decode", with U+FFFD for each error."""
    stream = stream.removeprefix(BOM)
    out: list[str] = []
    point = seen = needed = 0
    lower, upper = 0x80, 0xBF
    at = 0
    while at < len(stream):
        byte = stream[at]
        at += 1
        if needed == 0:
            if byte <= 0x7F:
                out.append(chr(byte))
            elif 0xC2 <= byte <= 0xDF:
                needed, point = 1, byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                lower = 0xA0 if byte == 0xE0 else lower
                upper = 0x9F if byte == 0xED else upper
                needed, point = 2, byte & 0xF
            elif 0xF0 <= byte <= 0xF4:
                lower = 0x90 if byte == 0xF0 else lower
                upper = 0x8F if byte == 0xF4 else upper
                needed, point = 3, byte & 0x7
            else:
                out.append("\ufffd")
            continue
        if not lower <= byte <= upper:
            point = needed = seen = 0
            lower, upper = 0x80, 0xBF
            at -= 1  # the byte is read again
            out.append("\ufffd")
            continue
        lower, upper = 0x80, 0xBF
        point = point << 6 | byte & 0x3F
        seen += 1
        if seen == needed:
            out.append(chr(point))
            point = needed = seen = 0
    if needed:
        out.append("\ufffd")
    return "".join(out)


def parse(stream: bytes, last_event_id: str = "") -> Stream:
    """WHATWG HTML section 9.2.6 over a whole stream."""
    result = Stream(last_event_id=last_event_id)
    data, event_type, id_buffer = "", "", last_event_id
    # The last piece had no line end: it never became a line.
    for line in END_OF_LINE.split(utf8_decode(stream))[:-1]:
        if line == "":
            result.last_event_id = id_buffer
            if data == "":
                event_type = ""
                continue
            data = data.removesuffix("\n")
            result.events.append((event_type or "message", data, result.last_event_id))
            data = event_type = ""
            continue
        if line.startswith(":"):
            result.comments += 1
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event_type = value
        elif name == "data":
            data += value + "\n"
        elif name == "id":
            if "\0" not in value:
                id_buffer = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            # int() refuses thousands of digits; what is longer is beyond the
            # largest time that the parser gives anyway.
            digits = value.lstrip("0") or "0"
            result.retry = min(int(digits[:20]), 2**63 - 1)
    return result


def before_too_large(stream: bytes, max_event_bytes: int) -> bytes | None:
    """The stream up to the line at which an event passes the limit; None if none does."""
    text = stream.removeprefix(BOM)
    if stream != text or not BOM.startswith(stream):
        kept = at = 0
        for end in END_OF_LINE_BYTES.finditer(text):
            line = text[at : end.start()]
            if len(line) > max_event_bytes - kept:
                return stream[: len(stream) - len(text) + at]
            if not line:
                kept = 0
            elif line.split(b":", 1)[0] in (b"data", b"event", b"id"):
                kept += len(line)
            at = end.end()
        if len(text) - at > max_event_bytes - kept:
            return stream[: len(stream) - len(text) + at]
    return None


def format_event(
    data: str | None = None,
    event: str | None = None,
    id: str | None = None,
    retry: int | None = None,
    comment: str | None = None,
) -> bytes:
    """The wire form of a legal event: its fields in the order that h3py documents."""
    lines: list[str] = []
    if comment is not None:
        lines += [f": {line}" for line in END_OF_LINE.split(comment)]
    if id is not None:
        lines.append(f"id: {id}")
    if event is not None:
        lines.append(f"event: {event}")
    if retry is not None:
        lines.append(f"retry: {retry}")
    if data is not None:
        lines += [f"data: {line}" for line in END_OF_LINE.split(data)]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()
