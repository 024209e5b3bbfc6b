"""Waiting for a condition, with a deadline: the test kit's own helpers, for the tests here."""

from h3py.testing.waiting import DEADLINE_S, SCALE, Deadline, pause, trio_wait_until, wait_until

__all__ = ["DEADLINE_S", "SCALE", "Deadline", "pause", "trio_wait_until", "wait_until"]
