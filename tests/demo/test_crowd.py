"""A thousand streams, as a few: the helper begins, tells, and is gone whatever ends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h3py import H3
from h3py.demo.crowd import MAX_RATE, Crowd
from h3py.demo.crowd_client import MAX_STREAMS
from h3py.demo.live import Live
from tests.demo.kit import Window, post
from tests.support.wait import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


@pytest.fixture
def address(serve_app: Callable[..., Any], crowd: Crowd) -> Any:
    app = H3()
    live = Live()
    live.add_to(app)
    crowd.add_to(app, live)
    server = serve_app(app)
    crowd.serve_at(server.addresses)
    return server.addresses[0]


@pytest.fixture
def ada(address: Any) -> Iterator[Window]:
    window = Window(address, "Ada")
    yield window
    window.close()


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more, not even one that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def begin(address: Any, crowd: Crowd, **asked: int) -> int:
    """Start it; gives the helper's process id."""
    assert post(address, "/crowd/start", {"streams": 20, "rate": 50, **asked}).status == 200
    assert crowd.pid is not None
    return crowd.pid


def test_what_arrives_there_is_told_to_the_windows(address: Any, ada: Window, crowd: Crowd) -> None:
    pid = begin(address, crowd)
    told = ada.until("crowd", state="running", open=20)
    while not told["deliveries_a_second"]:
        told = ada.until("crowd", open=20)
    assert told["wanted"] == 20
    assert told["failed"] == 0
    assert told["rate"] == 50
    assert 0 < told["left_s"] <= 60
    assert crowd.manager.stats()["connections"] == 20
    assert post(address, "/crowd/stop").status == 204
    assert is_gone(pid)
    ada.until("crowd", state="stopped")
    wait_until(lambda: crowd.manager.stats()["connections"] == 0)


def test_there_is_one_and_starting_again_changes_its_rate(
    address: Any, ada: Window, crowd: Crowd
) -> None:
    pid = begin(address, crowd)
    assert begin(address, crowd, rate=100) == pid
    ada.until("crowd", rate=100)
    crowd.stop()
    other = begin(address, crowd)
    assert other != pid
    ada.until("crowd", state="running")


def test_the_end_of_the_server_is_its_end(serve_app: Callable[..., Any], backend: str) -> None:
    import h3py

    crowd, app = Crowd(), H3()
    live = Live()
    live.add_to(app)
    crowd.add_to(app, live)
    with h3py.running(app, backend=backend, port=0) as server:
        crowd.serve_at(server.addresses)
        pid = begin(server.addresses[0], crowd)
        wait_until(lambda: crowd.state.get("open") == 20)
    assert is_gone(pid)


def test_a_helper_that_was_killed_is_no_loss(address: Any, ada: Window, crowd: Crowd) -> None:
    pid = begin(address, crowd)
    ada.until("crowd", state="running")
    os.kill(pid, 9)
    ada.until("crowd", state="stopped")
    wait_until(lambda: is_gone(pid))
    assert begin(address, crowd) != pid


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"streams": 1, "rate": 1}, 200), ({"streams": MAX_STREAMS + 1}, 400),
        ({"streams": 0}, 400), ({"rate": MAX_RATE + 1}, 400), ({"rate": 0}, 400),
        ({"rate": "fast"}, 400), ({"port": 80}, 400),
    ],
)  # fmt: skip
def test_what_it_may_be_asked_is_bounded(address: Any, asked: Any, status: int) -> None:
    assert post(address, "/crowd/start", asked).status == status
    assert post(address, "/crowd/stop").status == 204


def test_a_page_of_another_site_may_not_begin_it(address: Any, crowd: Crowd) -> None:
    reply = post(address, "/crowd/start", {}, **{"Sec-Fetch-Site": "cross-site"})
    assert (reply.status, crowd.pid) == (403, None)


def test_without_an_address_it_says_so(serve_app: Callable[..., Any]) -> None:
    crowd, app = Crowd(), H3()
    crowd.add_to(app, Live())
    reply = post(serve_app(app).addresses[0], "/crowd/start")
    assert (reply.status, crowd.pid) == (503, None)


def test_everywhere_is_reached_by_loopback() -> None:
    crowd = Crowd()
    crowd.serve_at(["/a/socket", ("0.0.0.0", 80)])
    assert crowd.address == ("127.0.0.1", 80)
    crowd.serve_at([("::", 80, 0, 0)])
    assert crowd.address == ("::1", 80)
    crowd.serve_at([("192.0.2.7", 81)])
    assert crowd.address == ("192.0.2.7", 81)
