"""The thread of callbacks: in order, none in another's way."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from h3py import H3, CloseReason, ConfigError, H3Event, running
from h3py.backends.callbacks import CallbackThread, await_callback, is_async
from h3py.testing import EventReader
from tests.support.wait import DEADLINE_S

REASON = CloseReason.KICKED


def callback_thread() -> CallbackThread:
    return CallbackThread("callbacks-in-test", logging.getLogger("test"), "a callback failed")


def test_callbacks_run_in_order_in_one_thread(caplog: pytest.LogCaptureFixture) -> None:
    thread = callback_thread()
    ran: list[tuple[int, int, CloseReason]] = []

    def fails(reason: CloseReason) -> None:
        raise LookupError("on purpose")

    for number in range(50):
        thread.run([fails], REASON)
        note = functools.partial(
            lambda number, reason: ran.append((number, threading.get_ident(), reason)), number
        )
        thread.run([note], REASON)
    thread.stop()
    assert [number for number, _, _ in ran] == list(range(50))
    assert {reason for _, _, reason in ran} == {REASON}
    threads = {ident for _, ident, _ in ran}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert caplog.text.count("LookupError: on purpose") == 50


def test_what_is_given_while_others_are_given(caplog: pytest.LogCaptureFixture) -> None:
    """A collection may end a stream in the midst of it."""
    thread, ran = callback_thread(), []

    def functions() -> Iterator[Callable[..., None]]:
        for number in range(3):
            thread.run([ran.append], 10 * number)
            yield ran.append

    giving = threading.Thread(target=thread.run, args=(functions(), "outer"), daemon=True)
    giving.start()
    giving.join(DEADLINE_S)
    assert not giving.is_alive()
    thread.stop()
    assert ran == [0, "outer", 10, "outer", 20, "outer"]


def test_where_no_thread_can_be_started_they_are_called_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread, ran = callback_thread(), []

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refused:
        refused.setattr(threading.Thread, "start", refuse)
        thread.run([ran.append], 1)
        thread.stop()
    assert "cannot start the thread for callbacks: can't start new thread" in caplog.text
    assert ran == []
    thread.run([ran.append], 2)
    thread.stop()
    assert ran == [1, 2]


def test_without_callbacks_there_is_no_thread() -> None:
    before = threading.active_count()
    thread = callback_thread()
    assert threading.active_count() == before
    thread.stop()
    thread.stop()


def test_it_can_be_used_again_after_its_stop() -> None:
    """A stream may end after its server has."""
    thread = callback_thread()
    ran = threading.Event()
    thread.stop()
    thread.run([lambda _: ran.set()], REASON)
    assert ran.wait(DEADLINE_S)
    thread.stop()


class Awaited:
    async def __call__(self, reason: CloseReason) -> None: ...

    async def method(self, reason: CloseReason) -> None: ...


async def function(reason: CloseReason) -> None: ...


def test_what_must_be_awaited_is_known() -> None:
    assert is_async(function)
    assert is_async(Awaited())
    assert is_async(Awaited().method)
    assert is_async(functools.partial(function))
    assert not is_async(print)
    assert not is_async(lambda reason: None)
    assert not is_async([].append)


async def test_an_awaited_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(reason: CloseReason) -> None:
        raise LookupError(reason.value)

    await await_callback(fails, REASON)
    assert "LookupError: kicked" in caplog.text


def test_one_that_must_be_awaited_is_refused_where_nothing_can() -> None:
    app = H3()
    told: list[str] = []

    async def later(reason: CloseReason) -> None:
        told.append("never")

    @app.get("/")
    def handler(event: H3Event) -> None:
        with event.start_sse() as writer:
            try:
                writer.on_close(later)
            except ConfigError as error:
                told.append(str(error))

    with running(app, backend="threads") as server, EventReader(f"{server.url}/") as reader:
        assert reader.read_to_end() == []
    assert told == ["on_close: an async callback needs the trio backend"]
