"""Waiting for a condition, with a deadline: the one place where a test waits.

A deadline says when a test has failed, never how long something takes, so it is
generous, and longer still where everything runs slower: ``H3PY_DEADLINE_SCALE``
multiplies all of them (the sanitizer jobs set it).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

SCALE = float(os.environ.get("H3PY_DEADLINE_SCALE", "1"))
DEADLINE_S = 15.0
"""The deadline of everything that names none."""

_POLL_S = 0.005


class Deadline:
    """A point in time after which a test has failed.

    Args:
        seconds: From now; scaled by ``H3PY_DEADLINE_SCALE``.
    """

    def __init__(self, seconds: float = DEADLINE_S) -> None:
        self.seconds = seconds * SCALE
        self._at = time.monotonic() + self.seconds

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the deadline is over."""
        return time.monotonic() >= self._at


def wait_until(
    condition: Callable[[], T], *, deadline_s: float = DEADLINE_S, what: str | None = None
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Args:
        condition: Cheap, and free of side effects.
        deadline_s: Seconds after which the test fails.
        what: What was waited for, for the message.

    Raises:
        AssertionError: The deadline passed; the message has the last value.
    """
    deadline = Deadline(deadline_s)
    while not (value := condition()):
        if deadline.passed:
            raise AssertionError(_missed(condition, deadline, what, value))
        pause()
    return value


async def trio_wait_until(
    condition: Callable[[], T], *, deadline_s: float = DEADLINE_S, what: str | None = None
) -> T:
    """``wait_until`` for a test that runs on trio: other tasks go on meanwhile.

    Raises:
        AssertionError: The deadline passed; the message has the last value.
    """
    deadline = Deadline(deadline_s)
    while not (value := condition()):
        if deadline.passed:
            raise AssertionError(_missed(condition, deadline, what, value))
        with trio.move_on_after(_POLL_S):
            await trio.sleep_forever()
    return value


def pause() -> None:
    """Let other threads and processes run for a moment; only for polling with a deadline."""
    select.select([], [], [], _POLL_S)


def _missed(
    condition: Callable[[], object], deadline: Deadline, what: str | None, value: object
) -> str:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return f"not within {deadline.seconds:g} s: {name} (last value: {value!r})"
