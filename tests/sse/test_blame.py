"""Whose fault an error is, alone and in groups."""

from __future__ import annotations

import pytest

from h3py.errors import BackpressureDetected, ConnectionLost, WriterClosed
from h3py.sse.blame import is_loss, is_slow
from h3py.testing.streams import memory_stream

LOST = ConnectionLost("gone")
CLOSED = WriterClosed("closed")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LOST, True),
        (CLOSED, True),
        (ValueError("mine"), False),
        (BackpressureDetected("behind"), False),
        (ExceptionGroup("", [LOST, CLOSED]), True),
        (ExceptionGroup("", [LOST, ExceptionGroup("", [CLOSED])]), True),
        (ExceptionGroup("", [LOST, ValueError("mine")]), False),
        (ExceptionGroup("", [LOST, ExceptionGroup("", [ValueError("mine")])]), False),
    ],
)
def test_the_loss_of_a_client_is_no_failure(error: Exception, expected: bool) -> None:
    assert is_loss(error) is expected


def test_a_client_that_is_behind_is_slow_on_its_own_stream_alone() -> None:
    stream = memory_stream().stream
    other = memory_stream().stream
    behind = BackpressureDetected("behind")
    behind.stream = stream
    assert is_slow(behind, stream)
    assert is_slow(ExceptionGroup("", [behind]), stream)
    assert not is_slow(behind, other)
    assert not is_slow(ExceptionGroup("", [behind, ValueError("mine")]), stream)
    assert not is_slow(BackpressureDetected("of another kind"), stream)
    assert not is_slow(None, stream)
