"""``WriteQueue``: what a driven connection has yet to send.

Owner: the connection; used by the one task or thread that drives it. Bytes come
in as chunks or events and leave through ``send`` (a socket) or ``take`` (a
transport that is not a descriptor, such as TLS or memory).

Small pieces that wait are copied together into one block of ``gather_bytes``; a
``bytes`` object above ``reference_over`` is queued by reference, anything else is
copied. An ordinary event that the socket takes at once costs one allocation,
which is freed before ``send`` returns; an idle queue has no memory behind it.

The cap is kept to whole pieces: a piece is taken entirely or ``BufferFull`` is
raised and nothing is taken. One piece larger than the cap is taken by an empty
queue, else it could never be sent.

``send`` gives up the GIL around large sends, and around all of them if asked to.
The queue then belongs to that call: another writer gets ``WriterBusy``, and a
``clear`` from outside is done when the call ends.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

import os

from h3py._speedups.queue cimport (
    SEND_BLOCKED, SEND_DONE, SEND_LOST, SEND_PARTLY, SEND_VECTORS_DRIVEN, SendResult, queue_clear,
    queue_drop_oldest, queue_entry, queue_init, queue_push, queue_send, queue_sent, queue_trim,
    queue_vectors,
)
from h3py._speedups.block cimport (
    Block, FRAME_TAIL, block_borrow, block_drop, block_new, borrowed_waiting, counter_load32,
    frame_head_size, frame_head_write, iovec, release_borrowed, shown_load_size,
)
from h3py._speedups.format cimport SSEEvent, event_size, event_write

from h3py.errors import (
    AllocationError, BufferFull, ConnectionClosed, EventTooLarge, WriterBusy, WriteError,
)

# Sends above this give up the GIL: shorter ones take less time than handing it over.
cdef size_t GIL_FREE_OVER = 16 * 1024
# A comment, which every client ignores (WHATWG HTML 9.2.6).
cdef bytes HEARTBEAT = b":\n\n"
cdef size_t UNBOUNDED = <size_t> -1


cdef class WriteQueue:
    def __cinit__(
        self,
        *,
        Py_ssize_t max_bytes=64 * 1024,
        Py_ssize_t gather_bytes=8 * 1024,
        Py_ssize_t reference_over=4 * 1024,
        Py_ssize_t max_event_bytes=16 * 1024 * 1024,
        bint chunked=False,
        bint release_gil=False,
    ):
        if max_bytes < 1 or gather_bytes < 1 or reference_over < 1 or max_event_bytes < 1:
            raise ValueError("every size of a WriteQueue must be 1 or more bytes")
        self.max_bytes = <size_t> max_bytes
        self.gather_bytes = <size_t> gather_bytes
        self.reference_over = <size_t> reference_over
        self.max_event_bytes = <size_t> max_event_bytes
        self.release_gil = release_gil
        queue_init(&self.queue, chunked)

    def __dealloc__(self):
        queue_clear(&self.queue)
        release_borrowed()

    @property
    def chunked(self) -> bool:
        """Whether appended chunks and events are framed as HTTP chunks. Set before the first."""
        return self.queue.framed

    @chunked.setter
    def chunked(self, bint value):
        if self.busy or self.queue.count:
            raise ValueError("chunked cannot change while chunks are queued")
        self.queue.framed = value

    @property
    def queued_bytes(self) -> int:
        """Unsent bytes, framing included. From any thread."""
        return shown_load_size(&self.queue.bytes)

    @property
    def max_queued_bytes(self) -> int:
        """The cap."""
        return self.max_bytes

    def __len__(self):
        """How many blocks are queued. From any thread."""
        return counter_load32(&self.queue.count)

    cdef int begin(self) except -1:
        if self.busy:
            raise WriterBusy("another task or thread is writing to this stream")
        return 0

    cdef int reserve(self, size_t size) except -1:
        """Room for one piece of ``size`` bytes, or BufferFull with nothing taken."""
        if self.busy:
            raise WriterBusy("another task or thread is writing to this stream")
        if size > self.max_event_bytes:
            raise EventTooLarge(
                f"a piece of {size} bytes is above the limit of {self.max_event_bytes}"
            )
        # Written so that no sum can overflow.
        if self.queue.bytes > 0 and (
            size > self.max_bytes or self.queue.bytes > self.max_bytes - size
        ):
            raise BufferFull(
                f"no room for {size} bytes: {self.queue.bytes} of {self.max_bytes} are queued"
            )
        return 0

    cdef char* room_for(self, size_t size, uint32_t events) except NULL:
        """Where to write a framed piece of ``size`` bytes: in the last block, or in a new one.

        Events and bytes without a boundary never share a block, so a block can be
        dropped whole or not at all.
        """
        cdef Block* block
        cdef char* at
        cdef size_t room = size
        if self.queue.count > 0:
            block = queue_entry(&self.queue, self.queue.count - 1)[0]
            # A block of our own making: no shared framing, and no other holder.
            if (block == self.gathering and block.room - block.inner >= size
                    and (block.events > 0) == (events > 0)):
                at = block.data + block.inner
                block.inner += size
                block.events += events
                self.queue.bytes += size
                return at
            # More is waiting already: the next pieces will share a block.
            if size < self.gather_bytes:
                room = self.gather_bytes
        block = block_new(room, NULL)
        if block == NULL:
            raise AllocationError(f"no memory to queue {size} bytes")
        block.inner = size
        block.events = events
        if queue_push(&self.queue, block) < 0:
            block_drop(block)
            raise AllocationError(f"no memory to queue {size} bytes")
        self.gathering = block
        return block.data

    cdef int put(self, const char* data, size_t size, bint framed) except -1:
        """Copy bytes in, framed as a chunk or as they are."""
        cdef size_t head = frame_head_size(size) if framed else 0
        cdef size_t whole = size + (head + FRAME_TAIL if framed else 0)
        cdef char* at
        self.reserve(whole)
        at = self.room_for(whole, 0)
        if framed:
            at = frame_head_write(size, at)
        memcpy(at, data, size)
        if framed:
            at[size] = b"\r"
            at[size + 1] = b"\n"
        return 0

    cdef int put_object(self, object data, bint framed) except -1:
        cdef Py_buffer view
        cdef Block* block
        cdef size_t whole
        if PyBytes_CheckExact(data):
            if <size_t> PyBytes_GET_SIZE(data) <= self.reference_over:
                return self.put(PyBytes_AS_STRING(data), <size_t> PyBytes_GET_SIZE(data), framed)
            whole = <size_t> PyBytes_GET_SIZE(data)
            if framed:
                whole += frame_head_size(whole) + FRAME_TAIL
            self.reserve(whole)
            block = block_borrow(data, framed, NULL)
            # A raw piece in a queue of chunks has no framing; its inner part is all of it.
            if queue_push(&self.queue, block) < 0:
                block_drop(block)
                raise AllocationError(f"no memory to queue {whole} bytes")
            return 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.put(<const char*> view.buf, <size_t> view.len, framed)
        finally:
            PyBuffer_Release(&view)

    def append(self, data) -> None:
        """Queue bytes as one chunk (nothing for no bytes: an empty chunk would end the body).

        Args:
            data: ``bytes`` (kept by reference above ``reference_over``), or any object
                with a buffer (copied).

        Raises:
            BufferFull: No room; nothing was taken.
            EventTooLarge: Above ``max_event_bytes``; nothing was taken.
            AllocationError: No memory; nothing was taken.
            WriterBusy: Another thread is in ``send``.
        """
        if len(data) > 0:
            self.put_object(data, self.queue.framed)

    def append_raw(self, data) -> None:
        """Queue bytes outside any chunk: a head, the last chunk, a whole response."""
        if len(data) > 0:
            self.put_object(data, False)

    def append_end(self, data) -> None:
        """Queue the last bytes of a body, or a whole response, whatever the limits.

        A stream that is full must end, too; and a response is no event.

        Raises:
            AllocationError: No memory; nothing was taken.
            WriterBusy: Another thread is in ``send``.
        """
        cdef size_t cap = self.max_bytes
        cdef size_t largest = self.max_event_bytes
        self.max_bytes = self.max_event_bytes = <size_t> -1
        try:
            self.append_raw(data)
        finally:
            self.max_bytes = cap
            self.max_event_bytes = largest

    cpdef Py_ssize_t append_event(self, SSEEvent event) except -1:
        """Format an event into the queue, whole; returns its size in bytes without framing.

        Raises:
            As ``append``.
        """
        cdef size_t size = <size_t> event_size(event)
        cdef size_t head = 0
        cdef size_t whole = size
        cdef char* at
        if self.queue.framed:
            head = frame_head_size(size)
            whole += head + FRAME_TAIL
        self.reserve(whole)
        at = self.room_for(whole, 1)
        if head:
            at = frame_head_write(size, at)
        at = event_write(event, at)
        if head:
            at[0] = b"\r"
            at[1] = b"\n"
        return <Py_ssize_t> size

    cpdef bint send(self, int fd) except -1:
        """Send what the socket takes now; True when the queue is empty.

        Raises:
            ConnectionClosed: The peer has gone, with the system's error as its cause.
            WriteError: The kernel refused for another reason.
            WriterBusy: Another thread is in ``send``.
        """
        self.begin()
        return send_now(self, fd, self.release_gil or self.queue.bytes > GIL_FREE_OVER)

    cpdef bint send_event(self, int fd, SSEEvent event) except -1:
        """``append_event`` and ``send`` in one call: the way of a driven stream."""
        self.append_event(event)
        return self.send(fd)

    def heartbeat(self, int fd) -> bool:
        """Send a comment if nothing is queued and nobody is sending; False if it was not sent.

        Done in one go under the GIL, so it never comes between a writer's bytes, and never
        waits: what the socket does not take of it stays queued.

        Raises:
            As ``send``.
        """
        if self.busy or self.queue.count > 0:
            return False
        self.put(PyBytes_AS_STRING(HEARTBEAT), <size_t> PyBytes_GET_SIZE(HEARTBEAT),
                 self.queue.framed)
        return send_now(self, fd, False)

    def send_rest(self, int fd) -> bool:
        """Send what a writer has left queued, unless it is sending; True when nothing is left.

        For others than the writer: done in one go under the GIL, like ``heartbeat``.

        Raises:
            As ``send``.
        """
        return not self.busy and send_now(self, fd, False)

    def take(self, Py_ssize_t at_most=64 * 1024) -> bytes:
        """Remove and return up to ``at_most`` unsent bytes, for a transport without a descriptor.

        Raises:
            ValueError: ``at_most`` below 1.
            WriterBusy: Another thread is in ``send``.
        """
        cdef iovec vectors[64]
        cdef int i, count
        cdef size_t part, filled = 0
        cdef size_t want
        self.begin()
        if at_most < 1:
            raise ValueError(f"at_most must be 1 or more, not {at_most}")
        want = min(<size_t> at_most, self.queue.bytes)
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> want)
        self.gathering = NULL
        while filled < want:
            count = queue_vectors(&self.queue, want - filled, vectors, 64)
            part = 0
            for i in range(count):
                if vectors[i].iov_len > want - filled - part:
                    vectors[i].iov_len = want - filled - part
                memcpy(PyBytes_AS_STRING(out) + filled + part, vectors[i].iov_base,
                       vectors[i].iov_len)
                part += vectors[i].iov_len
            queue_sent(&self.queue, part)
            filled += part
        if self.queue.count == 0:
            queue_trim(&self.queue)
        if borrowed_waiting():
            release_borrowed()
        return out

    def drop_oldest(self, Py_ssize_t limit) -> int:
        """Drop whole events that have not begun, oldest first, down to ``limit`` queued bytes.

        Returns:
            How many events were dropped.
        """
        self.begin()
        self.gathering = NULL
        return queue_drop_oldest(&self.queue, <size_t> max(limit, 0), False)

    def clear(self) -> int:
        """Drop everything; returns how many events that had not begun were lost.

        From another thread while ``send`` is running, it takes effect when that ends.
        """
        cdef uint32_t events
        if self.busy:
            self.clear_wanted = True
            return 0
        self.gathering = NULL
        events = queue_clear(&self.queue)
        release_borrowed()
        return events


cdef bint send_now(WriteQueue self, int fd, bint free_gil) except -1:
    """``WriteQueue.send``; nobody else may be sending."""
    cdef int error = 0
    cdef SendResult result
    cdef iovec[SEND_VECTORS_DRIVEN] vectors
    if self.queue.count == 0:
        return True
    self.gathering = NULL
    if free_gil:
        self.busy = True
        with nogil:
            result = queue_send(&self.queue, fd, UNBOUNDED, vectors, SEND_VECTORS_DRIVEN, &error)
        self.busy = False
    else:
        result = queue_send(&self.queue, fd, UNBOUNDED, vectors, SEND_VECTORS_DRIVEN, &error)
    if self.clear_wanted:
        self.clear_wanted = False
        queue_clear(&self.queue)
    if self.queue.count == 0:
        queue_trim(&self.queue)
    if borrowed_waiting():
        release_borrowed()
    if result == SEND_DONE:
        return True
    if result == SEND_BLOCKED or result == SEND_PARTLY:
        return self.queue.count == 0
    cause = OSError(error, os.strerror(error))
    if result == SEND_LOST:
        raise ConnectionClosed(f"the peer closed the connection: {cause.strerror}") from cause
    raise WriteError(f"the system refused a write: {cause.strerror}") from cause
