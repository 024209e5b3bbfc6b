"""The hub: servers that come and go, its thread, room for publishers, and who holds memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from h3py import (
    H3,
    BackpressureDetected,
    CloseReason,
    H3Event,
    ManagerClosed,
    MemoryBroker,
    SSEManager,
    Subscription,
)
from h3py.manager import hub as hub_module
from h3py.manager.subscription import Plan
from h3py.testing import EventReader
from tests.manager.support.site import Site
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

MakeSite = Callable[..., Site]
MIB = 1024 * 1024


def hub_of(manager: SSEManager) -> Any:
    return manager._open()


def manager_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "h3py-manager"]


# -- life --------------------------------------------------------------------------------------


def test_a_hub_ends_with_its_last_server(make_site: MakeSite) -> None:
    before = manager_threads()
    site = make_site()
    reader = site.open()
    hub = hub_of(site.manager)
    assert len(manager_threads()) == len(before) + 1
    assert not hub.has_left(site.server)
    site.server.shutdown()
    reader.read_to_end()
    reader.close()
    wait_until(lambda: manager_threads() == before)
    assert hub.closed
    assert hub.has_left(site.server)
    assert hub.registry.counts == (0, 0)
    with pytest.raises(ManagerClosed):
        hub.check_open()
    with pytest.raises(ManagerClosed):
        hub.enter(site.server)


def test_a_server_that_stops_opens_no_new_hub(
    serve_app: Callable[..., Any], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that subscribes while its server drains: 503 or nothing, never a hub that stays."""
    manager = SSEManager()
    app = H3()
    entered, go_on = threading.Event(), threading.Event()

    def late(event: H3Event) -> Subscription:
        entered.set()
        assert go_on.wait(DEADLINE_S)
        return manager.subscribe(event, ["news"])

    async def task(event: H3Event) -> Subscription:
        entered.set()
        await trio.to_thread.run_sync(go_on.wait, DEADLINE_S)
        return manager.subscribe(event, ["news"])

    app.get("/first")(lambda event: manager.subscribe(event, client_id="a"))
    app.get("/late")(task if backend == "trio" else late)
    server = serve_app(app)
    before = manager_threads()
    with EventReader(f"{server.url}/first") as first, Client(server.addresses[0]) as client:
        wait_until(lambda: manager.is_client_connected("a"))
        client.request("GET", "/late")
        assert entered.wait(DEADLINE_S)
        server.shutdown()
        first.read_to_end()
        wait_until(lambda: hub_closed(manager))
        go_on.set()
        reply = client.read_reply()
        assert reply.status == 503
        assert int(reply.head["retry-after"]) >= 1
    wait_until(lambda: server.open_connections == 0)
    wait_until(lambda: manager_threads() == before)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def hub_closed(manager: SSEManager) -> bool:
    return manager._hub is not None and manager._hub.closed


@pytest.mark.parametrize("begun", [False, True])
def test_a_manager_that_closes_between_subscribing_and_the_handlers_return(
    serve_app: Callable[..., Any], begun: bool
) -> None:
    """Nothing has been sent, so the client is told to come again; all that was taken is back."""
    manager = SSEManager()
    app = H3()
    hubs: list[Any] = []

    @app.get("/events")
    def events(event: H3Event) -> Subscription | None:
        manager.open()
        hubs.append(hub_of(manager))
        if begun:
            start = event.start_sse()
            hubs[-1].closed = True  # as a drain would, in this very moment
            with pytest.raises(ManagerClosed):
                Subscription(hubs[-1], "a", "anna", None, None, PLAN._replace(where=bool)).attach(
                    start._stream
                )
            start.close()
            hubs[-1].closed = False
            return None
        made = manager.subscribe(event, user_id="anna", where=bool)
        manager.close()
        return made

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        reply = client.get("/events")
        assert reply.status == (200 if begun else 503)
        if not begun:
            assert reply.head["retry-after"] == "5"
    (hub,) = hubs
    assert hub.registry.counts == (0, 0)
    assert not hub.filters._used
    manager.close()


PLAN = Plan((), None, "catch_up", False, None, None)


def test_subscribing_races_with_the_drain(make_site: MakeSite) -> None:
    """Whatever gets in is ended, by the drain or by itself; nothing is left, nobody is cut."""
    for _ in range(5):
        site = make_site(watch_presence=True)
        site.open("news", client="first")
        stop = threading.Event()
        outcomes: list[str] = []

        def come_and_ask(site: Site, stop: threading.Event, outcomes: list[str]) -> None:
            while not stop.is_set():
                try:
                    with EventReader(site.url(channels="news")) as reader:
                        if reader.status != 200:
                            outcomes.append("refused")
                            continue
                        site.server.shutdown()
                        reader.read_to_end()
                        outcomes.append("ended")
                except (ConnectionError, AssertionError):
                    outcomes.append("closed")
                    return

        threads = [
            threading.Thread(target=come_and_ask, args=(site, stop, outcomes)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        stop.set()
        assert not any(thread.is_alive() for thread in threads)
        site.close()
        site.settled()
        connects = sum(told[0] == "connect" for told in site.told)
        wait_until(
            lambda site=site, connects=connects: (
                connects == sum(told[0] == "disconnect" for told in site.told)
            )
        )
        assert set(site.server.closed_streams) <= {CloseReason.SHUTDOWN, CloseReason.CLIENT_CLOSED}


def test_leaving_waits_until_all_was_told(make_site: MakeSite) -> None:
    """With another server in the hub: what is left of the one that ends is cut, and reported."""
    site = make_site()
    other = make_site(manager=site.manager)
    readers = [site.open("news", user="anna") for _ in range(20)]
    staying = other.open("news", user="anna", client="staying")
    hub = hub_of(site.manager)
    hub.leave(site.server)
    assert site.server.open_streams == 0
    assert site.server.closed_streams == {CloseReason.SHUTDOWN: 20}
    assert hub.registry.counts == (1, 1)
    assert not hub.closed
    for reader in readers:
        reader.read_eof()
    site.manager.broadcast("to", "x")
    assert staying.read_event().data == "x"


def test_a_stream_of_a_server_that_has_left_is_ended(make_site: MakeSite) -> None:
    site = make_site()
    other = make_site(manager=site.manager)
    other.open(client="staying")
    site.open()
    hub_of(site.manager).leave(site.server)
    late = site.open(wait=False)
    late.read_to_end()
    late.close()
    wait_until(lambda: site.server.closed_streams[CloseReason.SHUTDOWN] == 2)


def test_an_error_of_one_report_is_logged_and_the_others_are_heard(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    readers = [site.open(client=name) for name in "ab"]
    first = site.subscriptions["a"]._stream
    take_report = site.server.take_report

    def fail_once(report: Any) -> None:
        take_report(report)
        if report.owner is first:
            raise LookupError("on purpose")

    monkeypatch.setattr(site.server, "take_report", fail_once)
    for reader in readers:
        reader.close()
    site.settled()
    wait_until(lambda: "a report of the engine could not be handled" in caplog.text)


# -- room for publishers -------------------------------------------------------------------------


class NoRoom:
    """An engine that says it has no room; nobody can make a real one say so for long."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def ask_room(self) -> bool:
        self.asked += 1
        return False


def test_waiting_for_room_ends_with_the_manager() -> None:
    manager = SSEManager()
    hub = hub_of(manager)
    hub.engine = NoRoom(hub.engine)
    results: list[bool] = []

    async def wait() -> None:
        results.append(await manager.adrain())

    async def main() -> None:
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(wait)
                while hub.engine.asked < 3:
                    await trio.lowlevel.checkpoint()
                await trio.to_thread.run_sync(manager.close)

    trio.run(main)
    assert results == [False] * 3
    assert hub._room_wanted == []


def test_who_gives_up_waiting_for_room_leaves_nothing() -> None:
    manager = SSEManager()
    hub = hub_of(manager)
    hub.engine = NoRoom(hub.engine)

    async def main() -> None:
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(manager.adrain)
                    asked = hub.engine.asked
                    while hub.engine.asked == asked:
                        await trio.lowlevel.checkpoint()
                    assert len(hub._room_wanted) == 1
                    scope.cancel()

    trio.run(main)
    assert hub._room_wanted == []
    manager.close()


def test_room_again_wakes_all_who_wait_even_if_one_has_gone() -> None:
    manager = SSEManager()
    hub = hub_of(manager)
    hub.engine = NoRoom(hub.engine)
    woken: list[int] = []

    def gone() -> None:
        raise trio.RunFinishedError

    for wake in (gone, lambda: woken.append(1), lambda: woken.append(2)):
        assert not hub.wait_for_room(wake)
    hub._wake_publishers()
    hub._wake_publishers()
    assert woken == [1, 2]
    manager.close()


# -- memory ----------------------------------------------------------------------------------


def test_who_is_closed_for_memory_is_said(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """M14: the slowest loses first; the log line names it, its reason, and why."""
    site = make_site(
        broker=MemoryBroker(max_events=50, max_bytes=MIB),
        max_memory_bytes=4 * MIB,
        max_queue_bytes=16 * MIB,
        policy="close",
        stall_timeout_s=None,
    )
    site.open("all", client="stuck", receive_buffer_bytes=4096)
    fast = site.open("all", client="fast")
    sent = 0
    with caplog.at_level(logging.WARNING, "h3py.manager"):
        while site.manager.is_client_connected("stuck") and sent < 1000:
            data = f"{sent}:" + "x" * 50_000
            wait_until(lambda data=data: published(site.manager, data))
            assert fast.read_event().data.startswith(f"{sent}:")
            sent += 1
        wait_until(lambda: site.server.closed_streams[CloseReason.LIMIT] == 1)
    (record,) = (one for one in caplog.records if one.name == "h3py.manager")
    assert record.levelno == logging.WARNING
    assert "GET /events" in record.message
    assert "limit" in record.message
    assert "memory was at its cap of 4194304 bytes" in record.message
    assert (record.stream, record.close_reason) == ("GET /events", "limit")  # type: ignore[attr-defined]  # extra
    assert site.manager.stats()["victims"] == 1
    assert site.manager.stats()["closed"] == {"limit": 1}
    site.manager.broadcast("end")
    assert fast.read_event().type == "end"


def published(manager: SSEManager, data: str) -> bool:
    """Whether there was room for it."""
    try:
        manager.send_to_channel("all", "to", data)
    except BackpressureDetected:
        return False  # memory is at its cap: the pump is closing who holds it
    return True


def test_a_client_that_sends_too_much_is_told_apart(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(max_discard_bytes=100)
    at, past = site.open(client="at"), site.open(client="past")
    at.socket.sendall(b"x" * 100)
    past.socket.sendall(b"x" * 101)
    with caplog.at_level(logging.WARNING, "h3py.manager"):
        wait_until(lambda: site.server.closed_streams == {CloseReason.LIMIT: 1})
    assert "its client sent too much" in caplog.text
    assert site.manager.is_client_connected("at")
    assert site.manager.stats()["victims"] == 0


def test_a_hub_that_cannot_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Refusing(hub_module.Readiness):
        def watch(self, fd: int) -> None:
            raise OSError("no descriptor left")

        def close(self) -> None:
            super().close()
            closed.append(True)

    manager = SSEManager()
    with monkeypatch.context() as patched:
        patched.setattr(hub_module, "Readiness", Refusing)
        with pytest.raises(OSError, match="no descriptor left"):
            manager.broadcast("to")
    assert closed == [True]
    assert manager.broadcast("to") == 0
    manager.close()


# -- who asks from where -----------------------------------------------------------------------


def test_a_signal_handler_may_ask_for_a_client(site: Site) -> None:
    """It runs in the midst of anything that its thread does."""
    reader = site.open(client="a")
    hub, answers = hub_of(site.manager), []

    def ask() -> None:
        with hub.registry._lock:
            answers.append(site.manager.send_to_client("a", "x"))
            hub.registry._clients["a"].present = False  # as while it is being admitted
            answers.append(site.manager.is_client_connected("a"))
            hub.registry._clients["a"].present = True

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(DEADLINE_S)
    assert answers == [True, False]
    assert reader.read_event().type == "x"
