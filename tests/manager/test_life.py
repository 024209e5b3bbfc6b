"""What a manager is before, between and after its servers; several servers, several managers, a
forked child."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from h3py import H3, CloseReason, H3Event, ManagerClosed, SSEAlreadyStarted, SSEManager
from h3py.testing import EventReader
from tests.manager.support.site import Site, datas, told_reasons
from tests.support.wait import DEADLINE_S, wait_until

MakeSite = Callable[..., Site]


def test_a_stream_is_of_one_manager(serve_app: Callable[..., Any]) -> None:
    manager, other = SSEManager(), SSEManager()
    app = H3()
    refused: list[Exception] = []

    @app.get("/events")
    def events(event: H3Event) -> None:
        start = event.start_sse()
        manager.subscribe(start, client_id="a")
        for again in (other, manager):
            with pytest.raises(SSEAlreadyStarted, match="parked already") as raised:
                again.subscribe(start)
            refused.append(raised.value)

    server = serve_app(app)
    with EventReader(f"{server.url}/events") as reader:
        wait_until(lambda: len(refused) == 2)
        assert manager.broadcast("to", "x") == 1
        assert other.broadcast("to", "y") == 0
        assert reader.read_event().data == "x"
    other.close()


def test_two_managers_in_one_application(serve_app: Callable[..., Any]) -> None:
    one, two = SSEManager(), SSEManager()
    app = H3()
    app.get("/one")(lambda event: one.subscribe(event, ["news"], client_id="same"))
    app.get("/two")(lambda event: two.subscribe(event, ["news"], client_id="same"))
    server = serve_app(app)
    with EventReader(f"{server.url}/one") as first, EventReader(f"{server.url}/two") as second:
        for manager, reader in ((one, first), (two, second)):
            wait_until(lambda manager=manager: manager.is_client_connected("same"))
            assert manager.send_to_channel("news", "to", "x") == 1
            assert reader.read_event().data == "x"
        server.shutdown()
        for reader in (first, second):
            reader.read_to_end()
            reader.close()
    for manager in (one, two):
        wait_until(lambda manager=manager: manager.stats()["connections"] == 0)
        with pytest.raises(ManagerClosed):
            manager.broadcast("to")


def manager_threads() -> int:
    names = ("h3py-manager", "h3py-presence")
    return sum(thread.name in names for thread in threading.enumerate())


def test_a_manager_is_served_twice_in_turn(make_site: MakeSite) -> None:
    """The second time it has a new epoch, which is told to those who come back (M9)."""
    before = manager_threads()
    site = make_site(watch_presence=True)
    first = site.open("news", client="a", user="anna")
    site.manager.send_to_channel("news", "to", "one")
    seen = first.read_event().last_event_id
    site.server.shutdown()
    first.read_to_end()
    first.close()
    site.settled()
    wait_until(lambda: manager_threads() == before)
    again = make_site(manager=site.manager)
    with pytest.raises(ManagerClosed):
        site.manager.broadcast("to")
    reader = again.open("news", client="a", user="anna", seen=seen)
    assert reader.read_event().type == "h3py:reset"
    assert site.manager.send_to_channel("news", "to", "two") == 1
    event = reader.read_event()
    assert event.data == "two"
    assert event.last_event_id[:12] != seen[:12]
    wait_until(lambda: len(site.told) == 7)
    assert [told[0] for told in site.told] == [
        *("connect", "online", "disconnect", "offline"),
        *("connect", "online", "reset"),
    ]
    assert told_reasons(site) == [CloseReason.SHUTDOWN]


def test_open_lets_publish_before_the_second_servers_first_stream(make_site: MakeSite) -> None:
    site = make_site()
    reader = site.open("news")
    site.server.shutdown()
    reader.read_to_end()
    reader.close()
    site.settled()
    again = make_site(manager=site.manager, prepare=lambda new: new.app.on_start(new.manager.open))
    assert site.manager.broadcast("to") == 0
    assert site.manager.stats()["log_events"] == 1
    again.open("news")
    site.manager.open()  # nothing, where it is open
    assert site.manager.stats()["log_events"] == 1


def test_two_servers_share_a_manager(make_site: MakeSite) -> None:
    """The one that ends takes its own streams with it, and no others."""
    site = make_site(watch_presence=True)
    other = make_site(manager=site.manager)
    leaving, staying = site.open("news", client="a"), other.open("news", client="b")
    assert site.manager.send_to_channel("news", "to", "both") == 2
    site.server.shutdown()
    assert datas(leaving.read_to_end()) == ["both"]
    leaving.close()
    wait_until(lambda: site.server.open_connections == 0)
    assert site.manager.send_to_channel("news", "to", "one") == 1
    assert datas(staying.read_events(2)) == ["both", "one"]
    other.open("news", client="a")
    other.server.shutdown()
    staying.read_to_end()
    other.close()
    wait_until(lambda: len(told_reasons(site)) == 3)
    assert told_reasons(site) == [CloseReason.SHUTDOWN] * 3
    with pytest.raises(ManagerClosed):
        site.manager.broadcast("to")


def test_closing_a_manager_that_has_streams(make_site: MakeSite) -> None:
    """They end; whoever subscribes then begins anew, and the server ends as it should."""
    site = make_site(watch_presence=True)
    reader = site.open(client="a")
    site.manager.close()
    site.manager.close()
    reader.read_eof()
    wait_until(lambda: told_reasons(site) == [CloseReason.SHUTDOWN])
    with pytest.raises(ManagerClosed, match="closing"):
        site.manager.broadcast("to")
    again = site.open(client="a")
    assert site.manager.broadcast("to", "x") == 1
    assert again.read_event().data == "x"


def test_closing_from_a_presence_callback(make_site: MakeSite) -> None:
    site = make_site()
    site.manager.on_connect(lambda who: site.manager.close())
    reader = site.open(wait=False)
    reader.read_eof()
    wait_until(lambda: site.server.open_streams == 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_anew(site: Site) -> None:
    """It has none of the threads; what it does leaves the parent's streams alone."""
    reader = site.open("news", client="a")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            manager = site.manager
            assert manager.get_connections() == []
            assert not manager.is_client_connected("a")
            assert manager.send_to_channel("news", "to", "child") == 0
            assert manager.stats()["published"] == 1
            manager.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert site.manager.send_to_channel("news", "to", "parent") == 1
    assert reader.read_event().data == "parent"


def test_threads_subscribe_at_once_and_there_is_one_hub(site: Site) -> None:
    readers = [site.open("news", wait=False) for _ in range(30)]
    wait_until(lambda: site.manager.stats()["connections"] == 30)
    wait_until(lambda: len(site.manager.get_connections()) == 30)
    assert site.manager.send_to_channel("news", "to", "x") == 30
    for reader in readers:
        assert reader.read_event(deadline_s=DEADLINE_S).data == "x"
    assert len(site.server.hubs) == 1


def test_streams_under_tls(serve_app: Callable[..., Any], tmp_path: Path) -> None:
    """One thread encrypts for all of them; all else is as it is without."""
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    manager = SSEManager()
    told: list[CloseReason] = []
    manager.on_disconnect(lambda who, reason: told.append(reason))
    app = H3()
    app.get("/events")(lambda event: manager.subscribe(event, ["news"], client_id=event.query["c"]))
    server = serve_app(app, certificate=str(certificate))

    def open_stream(client: str, seen: str | None = None) -> EventReader:
        headers = [] if seen is None else [("last-event-id", seen)]
        url = f"{server.url}/events?c={client}"
        reader = EventReader(url, headers=headers, ssl_context=trusting)
        wait_until(lambda: manager.is_client_connected(client))
        return reader

    first, second = open_stream("a"), open_stream("b")
    with first, second:
        assert manager.send_to_channel("news", "to", 0) == 2
        seen = first.read_event().last_event_id
        first.close()
        wait_until(lambda: not manager.is_client_connected("a"))
        for number in range(1, 100):
            manager.send_to_channel("news", "to", number)
        with open_stream("a", seen) as back, open_stream("c", "long ago") as lost:
            assert datas(back.read_events(99)) == [str(number) for number in range(1, 100)]
            assert lost.read_event().type == "h3py:reset"
            assert manager.disconnect_client("c")
            lost.read_to_end()
            assert datas(second.read_events(100)) == [str(number) for number in range(100)]
            server.shutdown()
            for reader in (back, second):
                reader.read_to_end()
    wait_until(lambda: len(told) == 4)
    assert told[0] is CloseReason.CLIENT_CLOSED
    assert sorted(told[1:]) == [CloseReason.KICKED, CloseReason.SHUTDOWN, CloseReason.SHUTDOWN]
    assert manager.stats()["connections"] == 0
