"""The rate limit: exact at the limit and one past it, for each client, in bounded memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py import H3, H3Event, running
from h3py.app.functions import Kind, is_inline, kind_of
from h3py.app.middleware import RateLimit
from h3py.app.middleware.rate_limit import MAX_KEY_CHARACTERS, client_key
from h3py.errors import ConfigError
from h3py.options import Backend
from h3py.testing import ManualClock
from tests.app.kit import Answer, MemoryExchange, ask, make_event
from tests.support.client import Client


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Threads take turns every few instructions, so that what is not locked shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def limited(limit: RateLimit) -> H3:
    app = H3()
    app.use(limit)
    app.get("/", lambda event: "x")
    return app


def take(limit: RateLimit, key: str = "a", count: int = 1) -> list[float]:
    return [limit.take(key) for _ in range(count)]


def test_the_limit_and_one_past_it(backend: Backend, clock: ManualClock) -> None:
    app = limited(RateLimit(3, per_s=60, clock=clock)).prepare(backend)
    answers = [ask(app, backend=backend) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[3].header("retry-after") == "20"
    clock.advance(19.9)
    answer = ask(app, backend=backend)
    assert (answer.status, answer.header("retry-after")) == (429, "1")
    clock.advance(0.1)
    assert [ask(app, backend=backend).status for _ in range(2)] == [200, 429]


def test_over_a_real_connection(serve_app: Any, clock: ManualClock) -> None:
    server = serve_app(limited(RateLimit(2, per_s=10, clock=clock)))
    with Client(server.addresses[0]) as client:
        assert [client.get("/").status for _ in range(3)] == [200, 200, 429]
        assert client.get("/").head["retry-after"] == "5"
        clock.advance(5)
        assert client.get("/").status == 200


def test_a_full_bucket_holds_the_burst_and_no_more(clock: ManualClock) -> None:
    limit = RateLimit(10, per_s=1, burst=4, clock=clock)
    for _ in range(2):
        assert take(limit, count=5) == [0, 0, 0, 0, pytest.approx(0.1)]
        clock.advance(1000)
    narrow = RateLimit(10, per_s=1, burst=1, clock=clock)
    assert take(narrow, count=2) == [0, pytest.approx(0.1)]


def test_what_was_refused_costs_nothing(clock: ManualClock) -> None:
    limit = RateLimit(1, per_s=10, clock=clock)
    assert take(limit, count=100)[1:] == [10.0] * 99
    clock.advance(10)
    assert take(limit) == [0]


@given(
    requests=st.integers(1, 1000),
    per_s=st.sampled_from([0.1, 1 / 3, 1, 7, 60, 3600]),
    burst=st.integers(2, 50),  # a bucket of one is full in between, and keeps no fraction
)
def test_each_interval_gives_exactly_one_more(requests: int, per_s: float, burst: int) -> None:
    """Also where the interval is no round number: time passes in whole nanoseconds."""
    passed = 10**15
    limit = RateLimit(requests, per_s, burst=burst, clock=lambda: passed / 10**9)
    assert take(limit, count=burst + 1)[:-1] == [0] * burst
    start = passed
    for count in range(1, 6):
        # The first whole nanosecond at which the bucket holds one more.
        passed = start + -(-round(per_s * 10**9) * count // requests)
        assert limit.take("a") == 0.0
        assert limit.take("a") > 0.0


def test_clients_do_not_share(backend: Backend, clock: ManualClock) -> None:
    app = limited(RateLimit(1, per_s=60, clock=clock)).prepare(backend)

    def asks(host: str) -> int:
        return ask(app, backend=backend, client=(host, 1)).status

    assert [asks("192.0.2.1"), asks("192.0.2.1"), asks("192.0.2.2")] == [200, 429, 200]
    # One subscriber has a /64 of IPv6 addresses, and the ports are no matter.
    assert [asks("2001:db8::1"), asks("2001:db8::ffff"), asks("2001:db8:0:1::1")] == [200, 429, 200]


def test_a_client_without_an_address_has_a_key() -> None:
    assert client_key(make_event(exchange=MemoryExchange(client=None))) == ""


def test_a_header_does_not_make_another_client(serve_app: Any, clock: ManualClock) -> None:
    """X-Forwarded-For is anybody's to send: it counts from proxies that are trusted only."""
    app = limited(RateLimit(1, per_s=60, clock=clock))
    with Client(serve_app(app).addresses[0]) as client:
        statuses = [
            client.get("/", [("X-Forwarded-For", f"192.0.2.{number}")]).status
            for number in range(3)
        ]
    assert statuses == [200, 429, 429]


def test_behind_a_trusted_proxy_each_of_its_clients_has_a_limit(
    serve_app: Any, clock: ManualClock
) -> None:
    app = limited(RateLimit(1, per_s=60, clock=clock))
    server = serve_app(app, trusted_proxies=("127.0.0.0/8",))
    with Client(server.addresses[0]) as client:

        def asks(forwarded: str) -> int:
            return client.get("/", [("X-Forwarded-For", forwarded)]).status

        assert [asks("192.0.2.1"), asks("192.0.2.2"), asks("192.0.2.1")] == [200, 200, 429]
        # What the client itself put to the left of what the proxy added is not believed.
        assert asks("198.51.100.9, 192.0.2.2") == 429


def test_a_key_of_ones_own(backend: Backend, clock: ManualClock) -> None:
    def by_token(event: H3Event) -> str | None:
        return event.headers.get("x-token")

    app = limited(RateLimit(1, per_s=60, key=by_token, clock=clock)).prepare(backend)

    def asks(*tokens: str) -> Answer:
        return ask(app, headers=[("X-Token", token) for token in tokens], backend=backend)

    assert [asks("a").status, asks("b").status, asks("a").status] == [200, 200, 429]
    assert [asks().status for _ in range(3)] == [200] * 3, "None is no limit"


def test_long_keys_are_kept_short(clock: ManualClock) -> None:
    limit = RateLimit(1, clock=clock)
    longest = "x" * MAX_KEY_CHARACTERS
    for key in (longest, longest + "a", longest + "b", "\ud800" * 100_000):
        assert take(limit, key, 2) == [0, 1.0]
    assert max(len(key) for key in limit._full_at) <= MAX_KEY_CHARACTERS


def test_the_table_is_bounded_and_forgets_the_quiet_ones(clock: ManualClock) -> None:
    limit = RateLimit(1, per_s=60, max_keys=3, clock=clock)
    for key in ("a", "b", "c"):
        assert take(limit, key) == [0]
    assert len(limit) == 3
    assert take(limit, "a") == [60.0], "at the bound nobody was forgotten"
    assert take(limit, "d") == [0]
    assert len(limit) == 3
    assert take(limit, "a") == [60.0], "it asked again and again, so it is remembered"
    assert take(limit, "c") == [60.0]
    assert take(limit, "b") == [0], "b was quiet for longest"
    for number in range(1000):
        limit.take(str(number))
    assert len(limit) == 3


def test_threads_get_what_there_is_and_no_more(clock: ManualClock, switching_often: None) -> None:
    limit = RateLimit(1000, per_s=60, clock=clock)
    passed: list[int] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        passed.append(take(limit, count=1000).count(0.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 1000


def test_it_never_leaves_the_loop() -> None:
    limit = RateLimit(1)
    assert is_inline(limit)
    assert kind_of(limit) is Kind.INLINE


def test_a_clock_that_stands_still_or_goes_back() -> None:
    times = iter([100.0, 100.0, 50.0, 101.0])
    limit = RateLimit(1, per_s=1, clock=lambda: next(times))
    assert [limit.take("a") for _ in range(4)] == [0, 1.0, 51.0, 0]


async def of_a_task(event: H3Event) -> str:
    return "x"


def test_mistakes_are_named() -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: RateLimit(0), "requests must be at least 1"),
        (lambda: RateLimit(1.5), "requests must be a whole number"),  # type: ignore[arg-type]
        (lambda: RateLimit(1, 0), "per_s must be above 0"),
        (lambda: RateLimit(1, float("nan")), "per_s must be 0 or more seconds"),
        (lambda: RateLimit(1, True), "per_s must be a number of seconds"),
        (lambda: RateLimit(1, burst=0), "burst must be at least 1"),
        (lambda: RateLimit(1, max_keys=0), "max_keys must be at least 1"),
        (lambda: RateLimit(1, key=of_a_task), "key must be a plain function"),  # type: ignore[arg-type]
    ]
    for make, message in wrong:
        with pytest.raises(ConfigError, match=message):
            make()
    with pytest.raises(TypeError, match="not callable"):
        RateLimit(1, key="x")  # type: ignore[arg-type]


def test_ipv6_over_a_real_connection(backend: Backend, clock: ManualClock) -> None:
    app = limited(RateLimit(1, per_s=60, clock=clock))
    with running(app, backend=backend, host="::1") as server, Client(server.addresses[0]) as client:
        assert [client.get("/").status for _ in range(2)] == [200, 429]
