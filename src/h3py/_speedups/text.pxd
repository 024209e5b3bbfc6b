"""Line ends, UTF-8 and digits in plain memory: what format and parse share.

Inline C, no Python, no allocation; the caller owns every byte.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcpy


cdef inline const char* find(const char* at, const char* end, char wanted) noexcept nogil:
    """The next ``wanted``, or ``end``."""
    cdef const void* hit = NULL
    if at < end:
        hit = memchr(at, wanted, end - at)
    return end if hit == NULL else <const char*> hit


cdef struct LineEnds:
    # The next LF and the next CR at or after the place last asked for. Each is
    # looked for again only when it was passed: two sweeps in all, however mixed.
    const char* lf
    const char* cr
    const char* end


cdef inline LineEnds line_ends(const char* text, Py_ssize_t size) noexcept nogil:
    cdef LineEnds ends
    ends.end = text + size
    ends.lf = find(text, ends.end, b"\n")
    ends.cr = find(text, ends.end, b"\r")
    return ends


cdef inline const char* next_end(LineEnds* ends, const char* at) noexcept nogil:
    """Where the line that begins at ``at`` ends."""
    if ends.lf < at:
        ends.lf = find(at, ends.end, b"\n")
    if ends.cr < at:
        ends.cr = find(at, ends.end, b"\r")
    return ends.lf if ends.lf < ends.cr else ends.cr


cdef inline const char* after_end(const LineEnds* ends, const char* line_end) noexcept nogil:
    """Where the next line begins; CRLF is one line end."""
    if line_end[0] == b"\r" and line_end + 1 < ends.end and line_end[1] == b"\n":
        return line_end + 2
    return line_end + 1


cdef inline Py_ssize_t utf8_error(const unsigned char* text, Py_ssize_t size) noexcept nogil:
    """Where the first byte stands that is not UTF-8 (Unicode 3.9, table 3-7); -1: nowhere."""
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    cdef unsigned char lead, low, high
    cdef int more, i
    while at < size:
        if size - at >= 8:
            memcpy(&word, text + at, 8)
            if word & <uint64_t> 0x8080808080808080 == 0:
                at += 8
                continue
        lead = text[at]
        if lead < 0x80:
            at += 1
            continue
        # The second byte alone has bounds of its own: they leave out forms longer
        # than needed, surrogates, and what lies beyond U+10FFFF.
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return at
        if size - at <= more or not low <= text[at + 1] <= high:
            return at
        for i in range(2, more + 1):
            if text[at + i] & 0xC0 != 0x80:
                return at
        at += more + 1
    return -1


cdef inline char* put(char* out, const void* text, Py_ssize_t size) noexcept nogil:
    memcpy(out, text, size)
    return out + size


cdef inline char* put_end(char* out) noexcept nogil:
    out[0] = b"\n"
    return out + 1


cdef inline int digits_of(int64_t number) noexcept nogil:
    cdef int digits = 1
    while number > 9:
        number //= 10
        digits += 1
    return digits


cdef inline char* put_number(int64_t number, char* out) noexcept nogil:
    cdef int digits = digits_of(number)
    cdef int at = digits
    while at > 0:
        at -= 1
        out[at] = <char> (c"0" + number % 10)
        number //= 10
    return out + digits
