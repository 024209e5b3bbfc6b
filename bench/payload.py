"""The data of a benchmark event, as ``native/event.h`` describes it.

Head of 44 characters (sequence, where it wraps, time, length), then a pattern
that depends on the sequence: the load client knows every byte of an event from
its head. Pure functions, no state.
"""

from __future__ import annotations

import time

HEAD = 44
WRAP = 10**8
TIME_WRAP = 10**16
PERIOD = 64
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def event_data(size: int, sequence: int, *, modulus: int = 0, time_ns: int = 0) -> str:
    """The data of event ``sequence``: ``size`` characters, all ASCII.

    Args:
        size: Characters, 44 to 1 MiB.
        sequence: Below ``modulus``.
        modulus: Where the sequence wraps to 0; 0 means 10**8.
        time_ns: ``time.monotonic_ns()`` of the sending; 0 leaves the event unstamped.
    """
    start = sequence % PERIOD
    count = size - HEAD
    pattern = (_ALPHABET * (count // PERIOD + 2))[start : start + count]
    return f"{sequence:08d} {modulus % WRAP:08d} {time_ns % TIME_WRAP:016d} {size:08d} {pattern}"


def cycle(size: int) -> list[str]:
    """64 unstamped events whose sequence wraps, for sending the same ones again and again."""
    return [event_data(size, sequence, modulus=PERIOD) for sequence in range(PERIOD)]


class Stamper:
    """Makes one stamped event after the other, cheaply: the patterns are made once."""

    def __init__(self, size: int) -> None:
        self._tails = [f" {size:08d} {event_data(size, n)[HEAD:]}" for n in range(PERIOD)]
        self.sequence = 0

    def next(self) -> str:
        """The data of the next event, stamped with now."""
        sequence = self.sequence
        self.sequence = (sequence + 1) % WRAP
        return self.stamped(sequence)

    def stamped(self, sequence: int) -> str:
        """The data of event ``sequence``, stamped with now."""
        now = time.monotonic_ns() % TIME_WRAP
        return f"{sequence:08d} 00000000 {now:016d}{self._tails[sequence % PERIOD]}"
