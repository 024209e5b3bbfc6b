"""Presence callbacks: in order, one at a time, in one thread that ends and begins again."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from h3py import ConfigError
from h3py.manager.presence import Presence
from tests.support.wait import DEADLINE_S, wait_until


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "h3py-presence"]


def test_callbacks_are_called_in_order_in_one_thread() -> None:
    presence, told = Presence(), []
    before = set(threads())

    def note(*what: Any) -> None:
        told.append((*what, threading.current_thread()))

    presence.add("connect", lambda who: note("connect", who))
    presence.add("connect", lambda who: note("too", who))
    presence.add("disconnect", lambda who, why: note("disconnect", who, why))
    for number in range(50):
        presence.tell("connect", number)
        presence.tell("disconnect", number, "why")
    presence.stop()
    expected = [
        what
        for number in range(50)
        for what in (("connect", number), ("too", number), ("disconnect", number, "why"))
    ]
    assert [entry[:-1] for entry in told] == expected
    assert len({entry[-1] for entry in told}) == 1
    assert set(threads()) == before


def test_without_callbacks_there_is_no_thread() -> None:
    presence = Presence()
    before = set(threads())
    presence.add("connect", print)
    presence.tell("disconnect", "nobody asked")
    assert set(threads()) == before
    presence.stop()


def test_what_a_callback_raises_is_logged_and_the_next_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    presence, told = Presence(), []

    def fail(who: str) -> None:
        raise SystemExit(who)

    presence.add("connect", fail)
    presence.add("connect", told.append)
    with caplog.at_level(logging.ERROR, "h3py.manager"):
        presence.tell("connect", "a")
        presence.tell("connect", "b")
        presence.stop()
    assert told == ["a", "b"]
    assert [record.message for record in caplog.records] == ["a presence callback failed"] * 2


def test_a_callback_is_told_of_what_happens_after_it_was_added() -> None:
    presence, first, second = Presence(), [], []
    entered, go_on = threading.Event(), threading.Event()

    def slow(who: str) -> None:
        first.append(who)
        entered.set()
        assert go_on.wait(DEADLINE_S)

    presence.add("connect", slow)
    presence.tell("connect", "early")
    assert entered.wait(DEADLINE_S)
    presence.tell("connect", "waits")
    presence.add("connect", second.append)
    presence.tell("connect", "late")
    go_on.set()
    presence.stop()
    assert first == ["early", "waits", "late"]
    assert second == ["late"]


def test_what_is_told_after_the_stop_waits_for_what_was_told_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A manager that is served again, while a callback of the first time still blocks."""
    monkeypatch.setattr("h3py.backends.callbacks.STOP_WAIT_S", 0.01)
    presence, told = Presence(), []
    entered, go_on = threading.Event(), threading.Event()

    def slow(who: str) -> None:
        if who == "first":
            entered.set()
            assert go_on.wait(DEADLINE_S)
        told.append(who)

    presence.add("connect", slow)
    presence.tell("connect", "first")
    presence.tell("connect", "second")
    assert entered.wait(DEADLINE_S)
    presence.stop()
    presence.tell("connect", "third")
    assert told == []
    go_on.set()
    wait_until(lambda: len(told) == 3)
    assert told == ["first", "second", "third"]
    presence.stop()
    wait_until(lambda: not threads())


def test_stopping_from_a_callback_does_not_wait_for_itself() -> None:
    presence, told = Presence(), []
    presence.add("connect", lambda who: presence.stop())
    presence.add("connect", told.append)
    presence.tell("connect", "a")
    wait_until(lambda: told == ["a"])
    wait_until(lambda: not threads())
    presence.tell("connect", "b")
    wait_until(lambda: told == ["a", "b"])
    presence.stop()
    presence.stop()


def test_what_cannot_be_a_callback() -> None:
    presence = Presence()

    async def later(who: str) -> None:
        raise AssertionError(who)

    with pytest.raises(TypeError, match="on_connect: 7 cannot be called"):
        presence.add("connect", 7)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigError, match="on_reset: give a plain function"):
        presence.add("reset", later)
