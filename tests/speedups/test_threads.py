"""Pumps are patient threads: whoever wakes up for less on their core goes first."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading

from h3py._speedups.engine import Engine
from tests.support.wait import wait_until

# struct sched_attr of linux/sched/types.h in its first version, and its system calls.
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
RUNTIME = 5
NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}
SLICE_NS = 100_000_000

libc = ctypes.CDLL(None, use_errno=True)


def slice_of(thread: int) -> int:
    """Nanoseconds that a thread may run before the scheduler looks for another; 0: not told."""
    held = ctypes.create_string_buffer(ATTRIBUTES.size)
    number = NUMBERS[os.uname().machine][1]
    assert libc.syscall(number, thread, held, ATTRIBUTES.size, 0) == 0
    return int(ATTRIBUTES.unpack(held.raw)[RUNTIME])


def slice_for_the_asking() -> int:
    """What the system gives a thread that asks for a long slice: older ones pay no heed."""
    given: list[int] = []

    def ask() -> None:
        fields = [ATTRIBUTES.size, 0, 0, 0, 0, SLICE_NS, 0, 0]
        assert libc.syscall(NUMBERS[os.uname().machine][0], 0, ATTRIBUTES.pack(*fields), 0) == 0
        given.append(slice_of(0))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return given[0]


def threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


def is_filtered() -> bool:
    """Whether system calls go through a filter here, as in most containers."""
    with open("/proc/self/status") as status:
        return any(line.split() == ["Seccomp:", "2"] for line in status)


def test_pumps_ask_for_long_slices_and_nobody_else_gets_them() -> None:
    if sys.platform != "linux" or os.uname().machine not in NUMBERS:
        return
    mine = slice_of(0)
    wanted = mine if is_filtered() else slice_for_the_asking()
    before = threads()
    engine = Engine(pumps=2)
    engine.start()
    try:
        pumps = threads() - before
        assert len(pumps) == 2
        wait_until(lambda: [slice_of(pump) for pump in pumps] == [wanted] * 2)
        assert slice_of(0) == mine
    finally:
        engine.shut_down()
