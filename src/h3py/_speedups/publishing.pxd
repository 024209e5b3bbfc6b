"""Events as blocks, and how many streams an event addresses. With the GIL."""

from libc.stdint cimport uint32_t, uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Core, Targets
from h3py._speedups.format cimport SSEEvent
from h3py._speedups.targets cimport GroupKeys, Pairs

cdef Block* piece_block(Core* core, object piece) except NULL
cdef Block* page_block(Core* core, SSEEvent event, uint64_t sequence) except NULL
cdef Block* event_block(
    Core* core, SSEEvent event, GroupKeys keys, Pairs pairs, bint with_id, Targets** targets,
    char** digits,
) except NULL
cdef uint32_t count_streams(Core* core, GroupKeys keys) noexcept
