"""What the bytes of a head may be, judged at the first byte that decides.

Rules: no I/O, no state: functions of bytes. A verdict depends on the bytes
received so far and never on how they were cut into reads, so each error has one
position: the first byte after which no continuation could be accepted. That is
what makes a request read in one piece and one that drips in byte by byte end
the same way.

llhttp knows the syntax of a head, but sets no limits, and says nothing of a
line that does not end. Those judgements are here, for request lines, header
sections, chunk lines and trailers.
"""

from __future__ import annotations

import re
from typing import Final

from h3py.errors import RequestError

CR: Final = 0x0D
TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""``token`` of RFC 9110 section 5.6.2, as a pattern."""

# Every byte of a legal line of text but HTAB, which only field values may have.
_NOT_VISIBLE = re.compile(rb"[^\x20-\x7e]")
# In a header section: a control character other than HTAB, a CR that is followed
# by something else than LF (not one that is last: its LF may come), a lone LF.
_NOT_FIELD_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n")

_FIELD_TEXT: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])


def count_clean_lines(head: bytes) -> int:
    """The number of lines of a head in which every byte is field text or part of a CRLF.

    0 when there is any other byte. The common case, in two passes at C speed: the
    CRLFs must account for all that is left when field text is taken away.
    """
    count = head.count(b"\r\n")
    return count if len(head.translate(None, _FIELD_TEXT)) == 2 * count else 0


def find_line_end(data: bytes, start: int, limit: int, too_long: RequestError) -> int:
    """Where the CRLF of the line that begins at ``start`` stands; -1 when it has not come.

    Args:
        data: What has been received.
        start: Index of the line's first byte.
        limit: The greatest length of the line, without its CRLF.
        too_long: Raised when the line cannot end within the limit.

    Raises:
        RequestError: 400 for a byte that is not visible ASCII or space (a bare CR
            and a bare LF are such bytes), or ``too_long``.
    """
    stop = start + limit
    found = _NOT_VISIBLE.search(data, start, stop + 1)
    if found is None:
        if len(data) > stop:
            raise too_long
        return -1
    at = found.start()
    if data[at] == CR:
        if at + 1 == len(data):
            return -1
        if data[at + 1] == 0x0A:
            return at
    if at == stop:
        raise too_long
    raise RequestError(400, "illegal byte in a line of the request")


def find_section_end(
    data: bytes, start: int, clean: int, limit: int, too_large: RequestError
) -> int:
    """Where the empty line that ends a field section stands; -1 when it has not come.

    Args:
        data: What has been received; ``data[start - 2:start]`` is a CRLF.
        start: Index of the section's first byte.
        clean: Index up to which ``data`` was judged before; ``start`` at first.
        limit: The greatest length of the section with its line ends, without the empty line.
        too_large: Raised when the section cannot end within the limit.

    Raises:
        RequestError: 400 for a control character, a bare CR or a bare LF, or ``too_large``.
    """
    stop = start + limit
    end = data.find(b"\r\n\r\n", max(start - 2, clean - 3, 0), stop + 2)
    # One byte back: a CR that was last then may be followed by something now.
    bad = _NOT_FIELD_TEXT.search(data, max(start, clean - 1), stop if end < 0 else end + 4)
    if bad is not None:
        raise RequestError(400, "illegal byte in a header field")
    if end >= 0:
        return end + 2
    if len(data) > stop:
        # All that is still possible is the empty line, right at the limit.
        line_begins = stop == start or data[stop - 2 : stop] == b"\r\n"
        if not (line_begins and len(data) == stop + 1 and data[stop] == CR):
            raise too_large
    return -1
