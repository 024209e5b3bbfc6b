"""A clock in the test's hand.

``ServeOptions(clock=ManualClock())`` gives a server a time that passes only when
the test says so: timeouts of an hour are tested in a moment, and none expires by
accident on a slow machine. What is measured with it is what the options name in
seconds and the server looks for itself (late requests, slow clients, heartbeats
of driven streams); what the system waits for (a blocking write, the drain of a
shutdown) stays on the system's clock.

A server looks at its clock a few times a second, so after ``advance`` wait for
what should happen.
"""

from __future__ import annotations

import threading

from h3py._speedups.clock import Clock


class ManualClock:
    """Seconds that pass by ``advance`` alone; safe from any thread.

    Args:
        now_s: What it shows at first. Not 0 by default, so that a time that was never
            set is not taken for one.
    """

    __slots__ = ("_lock", "engine_clock")

    def __init__(self, now_s: float = 1000.0) -> None:
        # The pumps look at compiled time: the same clock, seen from below.
        self.engine_clock = Clock(float(now_s))
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.engine_clock.now

    def advance(self, seconds: float) -> float:
        """Let time pass, and return the new time; the engine's pumps have looked at it by then.

        Raises:
            ValueError: Negative seconds: the clock is monotonic.
        """
        if not seconds >= 0:
            raise ValueError(f"time passes forwards: advance by 0 or more seconds, not {seconds}")
        with self._lock:
            self.engine_clock.advance(seconds)
            return self.engine_clock.now

    def __repr__(self) -> str:
        return f"<ManualClock {self.engine_clock.now:g} s>"
