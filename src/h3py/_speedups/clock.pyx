"""``Clock``: the engine's time, in a test's hand.

Owner: the test. Pumps read it without a lock or the GIL; the engine that was given
one keeps it alive. It stands still until ``advance``.
"""

cimport cython

from weakref import WeakSet

from h3py._speedups.block cimport atomic_add64, atomic_load64


@cython.final
cdef class Clock:
    def __cinit__(self, double now_s=0.0):
        self.now_ns = <int64_t> (now_s * 1e9)
        self.engines = WeakSet()

    @property
    def now(self) -> float:
        """Seconds."""
        return atomic_load64(&self.now_ns) / 1e9

    def advance(self, double seconds) -> None:
        """Move on; returns once every pump of every engine has looked at the new time.

        Raises:
            ValueError: A step back.
        """
        if not 0 <= seconds < 1e9:
            raise ValueError(f"a clock goes forward: {seconds} seconds")
        atomic_add64(&self.now_ns, <int64_t> (seconds * 1e9))
        for engine in list(self.engines):
            engine._scan_now()
