"""What Python is told of connections, taken out of the outbox. With the GIL."""

from h3py._speedups.core cimport Core

cdef list take_reports(Core* core, Py_ssize_t at_most)
