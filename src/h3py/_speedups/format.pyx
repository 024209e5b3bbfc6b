"""From the fields of an event to its bytes (WHATWG HTML section 9.2.5).

Everything is decided when an ``SSEEvent`` is made: the types and the field
rules are checked, line ends are counted and the size of the wire form is added
up. Writing it afterwards is copying, cannot fail, and needs no Python.

Rules of the wire form:

* fields leave in the order comment, id, event, retry, data; then an empty line;
* a value follows ``": "``, because a reader takes one space off each value: so a
  value's own leading space survives;
* data and comments are cut at LF, CR and CRLF, and at nothing else (U+2028,
  U+0085 and their like are text), one line each; what follows the last line end
  is a line too, so a trailing line end arrives.

Owner of the data: the caller's ``str`` or ``bytes``, which the event holds. For
ASCII text the UTF-8 is the ``str``'s own memory; for other text CPython keeps
the UTF-8 beside the ``str`` for as long as that lives. Nothing changes after
construction, so any thread may read an event without a lock. No I/O here.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8, PyUnicode_FromObject
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp

from h3py._speedups.text cimport (
    LineEnds, after_end, digits_of, line_ends, next_end, put, put_end, put_number, utf8_error,
)

from binascii import b2a_base64

from msgspec.json import encode as _encode_json

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1

cdef object _KEEP = object()


cdef Py_ssize_t lines_size(Field* field, Py_ssize_t prefix) except -1:
    """Counts the lines; returns their bytes on the wire, ``prefix`` and LF on each."""
    cdef LineEnds ends = line_ends(field.text, field.size)
    cdef const char* at = field.text
    cdef const char* stop
    cdef Py_ssize_t text = 0
    field.lines = 1
    while True:
        stop = next_end(&ends, at)
        text += stop - at
        if stop == ends.end:
            break
        field.lines += 1
        at = after_end(&ends, stop)
    if field.lines > (PY_SSIZE_T_MAX - text) // (prefix + 1):
        raise OverflowError("the event is too large to be formatted")
    return text + field.lines * (prefix + 1)


# --- taking the caller's values ---------------------------------------------

cdef object take_text(object value, str name, Field* field):
    """Points ``field`` at the UTF-8 of a str and returns the object to hold."""
    field.size = -1
    field.lines = 1
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str or None, not {type(value).__name__}")
    # A subclass may answer differently each time it is asked; its text does not.
    value = PyUnicode_FromObject(value)
    try:
        field.text = PyUnicode_AsUTF8AndSize(value, &field.size)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds a lone surrogate, U+{ord(value[error.start]):04X}, at index "
            f"{error.start}: it has no UTF-8 form"
        ) from None
    return value


cdef object take_data(object value, Field* field):
    """The same for data, which may be bytes."""
    if not isinstance(value, bytes):
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"data must be str, bytes of UTF-8 or None, not {type(value).__name__}; "
                f"SSEEvent.json and SSEEvent.binary take other data"
            )
        return take_text(value, "data", field)
    if type(value) is not bytes:
        value = PyBytes_FromStringAndSize(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    field.text = PyBytes_AS_STRING(value)
    field.size = PyBytes_GET_SIZE(value)
    field.lines = 1
    cdef Py_ssize_t wrong = utf8_error(<const unsigned char*> field.text, field.size)
    if wrong >= 0:
        raise ValueError(
            f"data is not UTF-8: byte 0x{value[wrong]:02X} at index {wrong}; "
            f"SSEEvent.binary sends any bytes"
        )
    return value


cdef int64_t take_retry(object value) except? -1:
    cdef int overflow = 0
    cdef long long retry
    if value is None:
        return -1
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(
            f"retry must be a non-negative integer in milliseconds or None, "
            f"not {type(value).__name__}"
        )
    retry = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow > 0:
        raise ValueError("retry must be at most 2**63 - 1 milliseconds")
    if overflow < 0 or retry < 0:
        raise ValueError("retry must not be negative")
    return retry


cdef int forbid(Field* field, object value, str name, char wrong, str wrong_name) except -1:
    """Raises if a field that is one line by the standard holds ``wrong``."""
    if field.size > 0 and memchr(field.text, wrong, field.size) != NULL:
        raise ValueError(
            f"{name} must not hold {wrong_name}, which a reader would not take as part of it: "
            f"{value!r:.80}"
        )
    return 0


# --- sizes ------------------------------------------------------------------

cdef inline Py_ssize_t plus(Py_ssize_t a, Py_ssize_t b) except -1:
    if b > PY_SSIZE_T_MAX - a:
        raise OverflowError("the event is too large to be formatted")
    return a + b


cdef Py_ssize_t wire_size(SSEEvent event) except -1:
    cdef Py_ssize_t total = 1   # the empty line
    if event.comment_field.size >= 0:
        total = plus(total, lines_size(&event.comment_field, 2))
    if event.id_field.size >= 0:
        total = plus(total, plus(event.id_field.size, 5))
    if event.event_field.size >= 0:
        total = plus(total, plus(event.event_field.size, 8))
    if event.retry_ms >= 0:
        total = plus(total, digits_of(event.retry_ms) + 8)
    if event.data_field.size >= 0:
        total = plus(total, lines_size(&event.data_field, 6))
    return total


# --- writing ----------------------------------------------------------------

cdef inline char* put_lines(
    const Field* field, const char* prefix, Py_ssize_t prefix_size, char* out
) noexcept nogil:
    cdef LineEnds ends
    cdef const char* at = field.text
    cdef const char* stop
    cdef Py_ssize_t left = field.lines
    if left > 1:
        ends = line_ends(field.text, field.size)
        while left > 1:
            stop = next_end(&ends, at)
            out = put_end(put(put(out, prefix, prefix_size), at, stop - at))
            at = after_end(&ends, stop)
            left -= 1
    return put_end(put(put(out, prefix, prefix_size), at, field.text + field.size - at))


cdef char* event_write(SSEEvent event, char* out) noexcept nogil:
    """Writes exactly ``event_size(event)`` bytes at ``out``; returns their end."""
    if event.comment_field.size >= 0:
        out = put_lines(&event.comment_field, b": ", 2, out)
    if event.id_field.size >= 0:
        out = put_end(put(put(out, b"id: ", 4), event.id_field.text, event.id_field.size))
    if event.event_field.size >= 0:
        out = put(out, b"event: ", 7)
        out = put_end(put(out, event.event_field.text, event.event_field.size))
    if event.retry_ms >= 0:
        out = put_end(put_number(event.retry_ms, put(out, b"retry: ", 7)))
    if event.data_field.size >= 0:
        out = put_lines(&event.data_field, b"data: ", 6, out)
    return put_end(out)


def format_event(SSEEvent event not None):
    """The wire form of an event, ready to be sent (WHATWG HTML section 9.2.5).

    Args:
        event: Any event; it was checked when it was made.

    Returns:
        UTF-8 bytes that begin with a field or a comment and end with the empty
        line that dispatches the event. Their size is known beforehand: one
        allocation, one pass.

    Raises:
        MemoryError: No room for the bytes.

    Thread-safe.
    """
    cdef bytes wire = PyBytes_FromStringAndSize(NULL, event.wire_size)
    event_write(event, PyBytes_AS_STRING(wire))
    return wire


def format_comment(text):
    """A comment that no client sees; sent to keep a connection alive.

    Args:
        text: Any text; each of its lines (LF, CR, CRLF) becomes a comment line.

    Returns:
        ``": "`` and a line of the text, for each line, and an empty line.

    Raises:
        TypeError: ``text`` is not a str.
        ValueError: ``text`` holds a lone surrogate, which has no UTF-8 form.
    """
    if text is None:
        raise TypeError("text must be str, not None")
    return format_event(SSEEvent(comment=text))


# --- the event --------------------------------------------------------------

cdef inline bint same(const Field* a, const Field* b) noexcept nogil:
    return a.size == b.size and (a.size <= 0 or memcmp(a.text, b.text, a.size) == 0)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class SSEEvent:
    """One server-sent event, checked and immutable (WHATWG HTML section 9.2).

    What cannot be sent as it is raises here, naming the field; nothing is
    repaired. Whatever the values, they can forge no second field and no second
    event. Two events are equal when their fields hold the same text.

    Args:
        data: The text of the event: ``str``, or ``bytes`` of UTF-8, of any
            length. One ``data`` line is sent for each of its lines; a reader sees
            LF, CR and CRLF all as LF. ``""`` is an event with empty data; None
            sends no data, and no client sees an event.
        event: The name of the event, on one line. None, and ``""`` too, are read
            as ``"message"``: the standard takes an empty name for none, so ``""``
            is legal and sent as it is.
        id: The client's new last event id, on one line without U+0000. ``""``
            makes it forget its id.
        retry: The client's new time before it reconnects, 0 to 2**63 - 1
            milliseconds (the most a signed 64-bit integer holds).
        comment: Text that readers skip; a line for each of its lines.

    An ``id``, ``retry`` or ``comment`` alone is legal.

    Raises:
        ValueError: LF or CR in ``event`` or ``id``; U+0000 in ``id``; ``data`` bytes
            that are not UTF-8; a lone surrogate anywhere; a ``retry`` that is not a
            non-negative integer (``True`` is none) or beyond its range; ``event``
            without ``data``; or no field at all.
        TypeError: A field of any other type.

    Thread-safe: nothing of it changes.
    """

    def __cinit__(self, data=None, event=None, id=None, retry=None, comment=None):
        self.data_object = take_data(data, &self.data_field)
        self.event_object = take_text(event, "event", &self.event_field)
        self.id_object = take_text(id, "id", &self.id_field)
        self.retry_ms = take_retry(retry)
        self.comment_object = take_text(comment, "comment", &self.comment_field)
        if data is None:
            if event is not None:
                raise ValueError(
                    "event needs data: without data a client sees no event "
                    "(data=\"\" sends an empty one)"
                )
            if id is None and retry is None and comment is None:
                raise ValueError("an event needs data, id, retry or comment")
        forbid(&self.event_field, event, "event", b"\n", "LF")
        forbid(&self.event_field, event, "event", b"\r", "CR")
        forbid(&self.id_field, id, "id", b"\n", "LF")
        forbid(&self.id_field, id, "id", b"\r", "CR")
        forbid(&self.id_field, id, "id", 0, "U+0000")
        self.wire_size = wire_size(self)

    @staticmethod
    def json(obj, event=None, id=None, retry=None, comment=None):
        """An event whose data is ``obj`` as JSON.

        Args:
            obj: What msgspec encodes: dicts, lists, str, numbers, None, dataclasses,
                msgspec structs, dates, UUIDs, ... The JSON is on one line.
            event, id, retry, comment: As for ``SSEEvent``.

        Raises:
            TypeError: ``obj`` holds a value of a type that msgspec does not encode.
            ValueError: A field is illegal, or ``obj`` holds a lone surrogate.
        """
        try:
            data = _encode_json(obj)
        except UnicodeEncodeError as error:
            raise ValueError(
                "data holds a lone surrogate in a string of obj: it has no UTF-8 form"
            ) from error
        return SSEEvent(data, event, id, retry, comment)

    @staticmethod
    def binary(raw, event=None, id=None, retry=None, comment=None):
        """An event whose data is ``raw`` in base64 (RFC 4648 section 4, on one line).

        An event stream is UTF-8 text, so bytes must be encoded; base64 takes 4
        characters for every 3 bytes begun, a third more than the bytes. In a
        browser::

            const bytes = Uint8Array.from(atob(e.data), c => c.charCodeAt(0));

        Args:
            raw: Any bytes-like object; empty is legal.
            event, id, retry, comment: As for ``SSEEvent``.

        Raises:
            TypeError: ``raw`` is not bytes-like.
            ValueError: A field is illegal.
        """
        if isinstance(raw, str):
            raise TypeError("raw must be bytes-like, not str")
        return SSEEvent(b2a_base64(raw, newline=False), event, id, retry, comment)

    def replace(
        self, *, data=_KEEP, event=_KEEP, id=_KEEP, retry=_KEEP, comment=_KEEP
    ):
        """A new event with some fields changed, checked as a whole; None removes a field."""
        return SSEEvent(
            self.data_object if data is _KEEP else data,
            self.event_object if event is _KEEP else event,
            self.id_object if id is _KEEP else id,
            self.retry if retry is _KEEP else retry,
            self.comment_object if comment is _KEEP else comment,
        )

    @property
    def data(self):
        """The data as text, as it was given; None if there is none."""
        if isinstance(self.data_object, bytes):
            return PyUnicode_DecodeUTF8(self.data_field.text, self.data_field.size, NULL)
        return self.data_object

    @property
    def event(self):
        """The name, or None."""
        return self.event_object

    @property
    def id(self):
        """The id, or None."""
        return self.id_object

    @property
    def retry(self):
        """The reconnection time in milliseconds, or None."""
        return None if self.retry_ms < 0 else self.retry_ms

    @property
    def comment(self):
        """The comment, or None."""
        return self.comment_object

    def __eq__(self, other):
        if not isinstance(other, SSEEvent):
            return NotImplemented
        cdef SSEEvent that = <SSEEvent> other
        return (
            self.wire_size == that.wire_size
            and self.retry_ms == that.retry_ms
            and same(&self.data_field, &that.data_field)
            and same(&self.event_field, &that.event_field)
            and same(&self.id_field, &that.id_field)
            and same(&self.comment_field, &that.comment_field)
        )

    def __hash__(self):
        return hash((self.data, self.event, self.id, self.retry, self.comment))

    def __repr__(self):
        names = "data", "event", "id", "retry", "comment"
        given = [(name, getattr(self, name)) for name in names]
        return f"SSEEvent({', '.join([f'{k}={v!r}' for k, v in given if v is not None])})"

    def __reduce__(self):
        return SSEEvent, (self.data, self.event, self.id, self.retry, self.comment)
