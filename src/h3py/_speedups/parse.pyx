"""From the bytes of a stream to events (WHATWG HTML sections 9.2.5 and 9.2.6).

Fed with chunks cut anywhere, the parser gives back the events that each chunk
completes. Lines are found with ``memchr`` where they lie; nothing of Python is
made for a line. A field's value is remembered as a place in the chunk, and copied
only when a second ``data`` line joins it or the chunk ends first.

Decoding comes last, field by field. That is the standard's decoding of the whole
stream: each cut is at an ASCII byte, which no UTF-8 sequence contains, and which
ends a broken one.

Owner of the data: the parser owns two buffers, for a line and for data that the
chunk did not complete. Whatever is fed, they take less than five times
``max_event_bytes``, and they are given back after a large event. One task or
thread feeds a parser; it has no lock. It ends with its last reference: an event
that the stream left incomplete is dropped, as the standard says.

This module does no I/O and knows nothing of connections.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp

from h3py._speedups.buffer cimport Buffer, buffer_add, buffer_free
from h3py._speedups.fields cimport Span, names, retry_of, value_of
from h3py._speedups.text cimport find

from h3py.errors import EventTooLarge

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

# A buffer above this is given back as soon as it is empty.
cdef Py_ssize_t KEEP_BYTES = 64 * 1024
# A longer event name is not remembered for the next event.
cdef Py_ssize_t KEEP_NAME = 64

cdef const char* BOM = b"\xef\xbb\xbf"
cdef object _MESSAGE = "message"


cdef enum State:
    READING
    TOO_LARGE
    NO_MEMORY


cdef inline object decoded(const char* text, Py_ssize_t size):
    """UTF-8 with U+FFFD for what is not, as browsers do (WHATWG Encoding section 4.1)."""
    return PyUnicode_DecodeUTF8(<char*> text, size, b"replace")


@cython.final
@cython.freelist(64)
cdef class ReceivedEvent:
    """An event as a reader of the stream sees it (WHATWG HTML section 9.2.6).

    Args:
        type: Its name; ``"message"`` where the stream gave none.
        data: Its ``data`` lines, joined with LF.
        last_event_id: The id that was in force when it was dispatched; ``""`` if
            the stream has set none.

    Raises:
        TypeError: An argument is not exactly a ``str``.

    Immutable, equal by its three values, thread-safe.
    """

    cdef readonly str type
    cdef readonly str data
    cdef readonly str last_event_id

    def __init__(self, str type not None, str data not None, str last_event_id not None=""):
        # The parser makes its events by __new__ and fills them; from outside,
        # only an empty one can still be filled.
        if self.type is not None:
            raise TypeError("a ReceivedEvent cannot be changed")
        self.type = type
        self.data = data
        self.last_event_id = last_event_id

    def __eq__(self, other):
        if not isinstance(other, ReceivedEvent):
            return NotImplemented
        return self.__reduce__() == other.__reduce__()

    def __hash__(self):
        return hash((self.type, self.data, self.last_event_id))

    def __repr__(self):
        return (
            f"ReceivedEvent(type={self.type!r}, data={self.data!r}, "
            f"last_event_id={self.last_event_id!r})"
        )

    def __reduce__(self):
        return ReceivedEvent, (self.type, self.data, self.last_event_id)


@cython.final
cdef class EventParser:
    """An incremental parser of one event stream, exact to WHATWG HTML section 9.2.6.

    Args:
        max_event_bytes: The largest event, 1 to ``sys.maxsize`` (which switches
            the limit off); 16 MiB by default. What counts are the bytes of the
            event's ``data``, ``event`` and ``id`` lines as they came, without
            their line ends, and of the line being read, whatever it is. Comments
            and other lines that were read to their end cost nothing.
        last_event_id: The id in force before the stream's first. A client that
            reconnects gives the one it has, as browsers do, else an event without
            an id would make it forget.

    Raises:
        TypeError, ValueError: An argument of another type or out of range.

    Not thread-safe: one task or thread at a time feeds it. It never waits.
    """

    cdef Py_ssize_t max_bytes
    cdef Py_ssize_t event_bytes     # of the event's lines so far; never above max_bytes
    cdef Buffer line                # what came of a line that the chunk did not complete
    cdef Buffer data                # the data buffer, unless data_span is all of it
    cdef Span data_span             # the only data line so far, where it lies
    cdef Span name_span             # the event type buffer, where it lies, or else:
    cdef object name
    cdef Span id_span               # the last event ID buffer, where it lies, or else:
    cdef object id
    cdef Py_ssize_t data_lines
    cdef object known_name          # the name of an earlier event, likely to come again
    cdef object id_string           # the last event ID string
    cdef int64_t retry_ms           # -1: none
    cdef uint64_t comments
    cdef int bom_bytes              # of the byte order mark at the start; 3: that is over
    cdef bint after_cr              # the chunk ended with CR: an LF that follows belongs to it
    cdef State state

    def __cinit__(self, max_event_bytes=16 * 1024 * 1024, *, last_event_id=""):
        if not isinstance(max_event_bytes, int) or isinstance(max_event_bytes, bool):
            raise TypeError(
                f"max_event_bytes must be an int, not {type(max_event_bytes).__name__}"
            )
        if not 1 <= max_event_bytes <= PY_SSIZE_T_MAX:
            raise ValueError("max_event_bytes must be 1 to sys.maxsize")
        if not isinstance(last_event_id, str):
            raise TypeError(f"last_event_id must be str, not {type(last_event_id).__name__}")
        self.max_bytes = max_event_bytes
        self.id_string = str(last_event_id)
        self.retry_ms = -1
        self.state = READING

    def __dealloc__(self):
        buffer_free(&self.line)
        buffer_free(&self.data)

    @property
    def retry(self):
        """The reconnection time the stream asked for last, in ms; None if it did not.

        A time beyond 2**63 - 1 is given as that.
        """
        return None if self.retry_ms < 0 else self.retry_ms

    @property
    def last_event_id(self):
        """The last event ID string: what a client sends in ``Last-Event-ID``.

        It changes at the empty line that ends an event, with data or without: an id
        whose event did not arrive whole is not one to go on from.
        """
        return self.id_string

    @property
    def comment_count(self):
        """How many comment lines have been read: a sign of life between events."""
        return self.comments

    @property
    def error(self):
        """The ``EventTooLarge`` that ended this parser, or None."""
        if self.state != TOO_LARGE:
            return None
        return EventTooLarge(
            f"an event in the stream is larger than max_event_bytes, {self.max_bytes} bytes; "
            f"the parser is finished"
        )

    def feed(self, chunk):
        """Takes the next bytes of the stream; returns the events they complete, in order.

        Args:
            chunk: Any bytes-like object, of any length; cuts may fall anywhere, in a
                character or a CRLF too. It is not kept.

        Raises:
            EventTooLarge: An event passes ``max_event_bytes``. Events before it are not
                lost: where this chunk completed some, they are returned, ``error``
                tells at once, and the next call raises. The parser is finished then:
                its memory is released, every further call raises again, and
                ``retry`` and ``last_event_id`` stay as they were.
            TypeError: ``chunk`` is not bytes-like.
            BufferError: ``chunk`` is not contiguous.
            MemoryError: The events of this chunk are lost and the parser is finished.
        """
        # The list comes first: nothing below can run the garbage collector, and
        # with it other code that might feed this parser too.
        cdef list events = []
        cdef Py_buffer view
        if PyBytes_CheckExact(chunk):
            self.read_all(PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk), events)
        else:
            PyObject_GetBuffer(chunk, &view, PyBUF_SIMPLE)
            try:
                self.read_all(<const char*> view.buf, view.len, events)
            finally:
                PyBuffer_Release(&view)
        if self.state == TOO_LARGE and not events:
            raise self.error
        return events

    cdef int read_all(self, const char* chunk, Py_ssize_t size, list events) except -1:
        if self.state != READING:
            if self.state == NO_MEMORY:
                raise MemoryError("the parser ran out of memory before; it is finished")
            return 0
        try:
            if not self.read(chunk, size, events):
                self.finish(TOO_LARGE)
        except BaseException:
            self.finish(NO_MEMORY)
            raise
        return 0

    cdef void finish(self, State state) noexcept:
        self.state = state
        self.data_span.text = self.name_span.text = self.id_span.text = NULL
        self.name = self.id = None
        buffer_free(&self.line)
        buffer_free(&self.data)

    cdef bint read(self, const char* at, Py_ssize_t size, list events) except? False:
        """Reads a chunk; False when an event is too large."""
        cdef const char* end = at + size
        cdef const char* cr
        cdef const char* stop
        if at == end:
            return True
        if self.bom_bytes < 3:
            at = self.skip_bom(at, end)
        if self.after_cr and at < end:
            self.after_cr = False
            if at[0] == b"\n":
                at += 1
        cr = find(at, end, b"\r")
        while at < end:
            if cr < at:
                cr = find(at, end, b"\r")
            # An empty line is half of all lines in a stream of small events.
            stop = at if at[0] == b"\n" else find(at, cr, b"\n")
            if self.line.size > 0 or stop == end:
                if stop - at > self.max_bytes - self.event_bytes - self.line.size:
                    return False
                if stop == end:
                    break
                buffer_add(&self.line, at, stop - at)
                if not self.take_line(self.line.text, self.line.size):
                    return False
                self.line.size = 0
            elif stop > at:
                if not self.take_line(at, stop - at):
                    return False
            else:
                self.dispatch(events)
            at = stop + 1
            if stop == cr:
                if at == end:
                    self.after_cr = True
                elif at[0] == b"\n":
                    at += 1
        self.keep_spans()
        if at < end:
            buffer_add(&self.line, at, end - at)
        elif self.line.size == 0 and self.line.room > KEEP_BYTES:
            buffer_free(&self.line)
        if self.data_lines == 0 and self.data.room > KEEP_BYTES:
            buffer_free(&self.data)
        return True

    cdef const char* skip_bom(self, const char* at, const char* end) except NULL:
        """Passes over one byte order mark at the start of the stream."""
        while at < end and self.bom_bytes < 3:
            if at[0] != BOM[self.bom_bytes]:
                # Not a mark after all: its first bytes begin the first line.
                buffer_add(&self.line, BOM, self.bom_bytes)
                self.bom_bytes = 3
                break
            self.bom_bytes += 1
            at += 1
        return at

    cdef bint take_line(self, const char* line, Py_ssize_t size) except? False:
        """Interprets a line that is not empty; False when it makes the event too large."""
        cdef Span value
        cdef int64_t retry
        if size > self.max_bytes - self.event_bytes:
            return False
        if line[0] == b":":
            self.comments += 1
        elif names(line, size, b"data", 4):
            self.event_bytes += size
            value = value_of(line, size, 4)
            if self.data_lines == 0:
                self.data_span = value
            else:
                self.keep_data()
                buffer_add(&self.data, b"\n", 1)
                buffer_add(&self.data, value.text, value.size)
            self.data_lines += 1
        elif names(line, size, b"id", 2):
            self.event_bytes += size
            value = value_of(line, size, 2)
            # An id with U+0000 is no id: the one before stays.
            if value.size == 0 or memchr(value.text, 0, value.size) == NULL:
                self.id_span = value
        elif names(line, size, b"event", 5):
            self.event_bytes += size
            self.name_span = value_of(line, size, 5)
        elif names(line, size, b"retry", 5):
            retry = retry_of(value_of(line, size, 5))
            if retry >= 0:
                self.retry_ms = retry
        return True

    cdef int keep_data(self) except -1:
        """Copies the first data line from where it lies to the data buffer."""
        if self.data_span.text != NULL:
            buffer_add(&self.data, self.data_span.text, self.data_span.size)
            self.data_span.text = NULL
        return 0

    cdef int keep_spans(self) except -1:
        """Copies what a later chunk may need, before this chunk goes away."""
        self.keep_data()
        if self.name_span.text != NULL:
            self.name = self.name_of(self.name_span)
            self.name_span.text = NULL
        if self.id_span.text != NULL:
            self.id = decoded(self.id_span.text, self.id_span.size)
            self.id_span.text = NULL
        return 0

    cdef object name_of(self, Span span):
        """The event type: an equal one from before, if it is at hand."""
        cdef Py_ssize_t size
        cdef const char* known
        if span.size == 0:
            return _MESSAGE
        if self.known_name is not None:
            known = PyUnicode_AsUTF8AndSize(self.known_name, &size)
            if size == span.size and memcmp(known, span.text, size) == 0:
                return self.known_name
        name = decoded(span.text, span.size)
        if span.size <= KEEP_NAME:
            self.known_name = name
        return name

    cdef int dispatch(self, list events) except -1:
        """What an empty line does (WHATWG HTML section 9.2.6, "dispatch the event")."""
        cdef ReceivedEvent event
        if self.id_span.text != NULL:
            self.id_string = decoded(self.id_span.text, self.id_span.size)
            self.id_span.text = NULL
            self.id = None
        elif self.id is not None:
            self.id_string = self.id
            self.id = None
        self.event_bytes = 0
        if self.data_lines > 0:
            event = ReceivedEvent.__new__(ReceivedEvent)
            if self.name_span.text != NULL:
                event.type = self.name_of(self.name_span)
            else:
                event.type = _MESSAGE if self.name is None else self.name
            if self.data_span.text != NULL:
                event.data = decoded(self.data_span.text, self.data_span.size)
            else:
                event.data = decoded(self.data.text, self.data.size)
            event.last_event_id = self.id_string
            events.append(event)
            self.data_lines = 0
            self.data_span.text = NULL
            self.data.size = 0
        self.name_span.text = NULL
        self.name = None
        return 0
