"""Waiting for conditions: what is returned, what fails, what runs meanwhile. (`tests/project`
has the rest: the tests here wait with the same helpers.)"""

from __future__ import annotations

import threading

import pytest
import trio

from h3py.testing import Deadline, trio_wait_until, wait_until


def test_what_became_true_is_returned() -> None:
    values: list[str] = []
    threading.Thread(target=values.append, args=("there",)).start()
    assert wait_until(lambda: values) == ["there"]


def test_in_vain_it_fails_with_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"the end of time \(last value: None\)"):
        wait_until(lambda: None, deadline_s=0.01, what="the end of time")


async def test_on_trio_others_run_meanwhile() -> None:
    values: list[str] = []

    async def other() -> None:
        values.append("there")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await trio_wait_until(lambda: values) == ["there"]
    with pytest.raises(AssertionError, match="last value: 0"):
        await trio_wait_until(lambda: 0, deadline_s=0.01)


def test_a_deadline_passes() -> None:
    deadline = Deadline(0.0)
    assert deadline.passed
    assert deadline.left_s == 0.0
    assert not Deadline(3600.0).passed
    assert Deadline(3600.0).left_s > 0
