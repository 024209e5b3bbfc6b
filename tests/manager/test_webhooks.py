"""Webhooks: what is signed is published once; what is not, or was long ago, is not."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from h3py import H3, ConfigError, MemoryBroker, RateLimit, SSEManager
from h3py.manager.webhooks import MAX_SIGNATURES, Taken, keys_of, sign, verify_signature
from h3py.testing import ManualClock, wait_until
from tests.support.client import Client, EventStream, Reply

SECRET = "whsec_sesame"
NOW = 1_700_000_000
PATH = "/api/webhooks/example"
MESSAGE = {"event": "paid", "target": "channel", "target_id": "news", "data": {"amount": 5}}


def signed(body: bytes, secret: str = SECRET, at: object = NOW) -> str:
    """Straight from the rule: HMAC-SHA256 over time, dot and body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Hooked:
    """A served webhook, with a follower of the channel ``news``."""

    def __init__(self, serve: Callable[..., Any], clients: ExitStack, **options: Any) -> None:
        self.clock = ManualClock(NOW)
        self.manager = SSEManager(options.pop("broker", None), retry_after_s=9)
        app = H3()
        settings = {"secret": SECRET, "clock": self.clock, **options}
        self.manager.mount(app, public_channels=["news"])
        self.manager.mount_webhook(app, **settings)
        self.server = serve(app)
        self.clients = clients

    def client(self) -> Client:
        return self.clients.enter_context(Client(self.server.addresses[0]))

    def follow(self) -> EventStream:
        stream = self.client().open_stream("/api/sse?channels=news")
        assert stream.read_event().type == "h3py:hello"
        wait_until(self.manager.get_connections, what="the stream has joined")
        return stream

    def post(
        self, body: Any = MESSAGE, signature: str | None = "", *, kind: str = "application/json"
    ) -> Reply:
        """Signed as it should be, unless ``signature`` says otherwise; None: not at all."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = [("Content-Type", kind)]
        if signature is not None:
            fields.append(("X-Signature", signature or signed(raw, at=int(self.clock()))))
        client = self.client()
        client.request("POST", PATH, fields, raw)
        return client.read_reply()


Make = Callable[..., Hooked]


@pytest.fixture
def make(serve_app: Callable[..., Any]) -> Iterator[Make]:
    with ExitStack() as clients:
        yield lambda **options: Hooked(serve_app, clients, **options)


@pytest.fixture
def hooked(make: Make) -> Hooked:
    return make()


# Signatures.


def test_a_signature_is_the_rule_written_out() -> None:
    assert sign(b'{"a": 1}', SECRET, timestamp=NOW) == signed(b'{"a": 1}')
    assert sign(b"", b"\x00\xff", timestamp=1.9).startswith("t=1,v1=")
    # RFC 4231, test case 2, is no case here: the time is part of what is signed.
    known = "t=1,v1=" + hmac.new(b"Jefe", b"1.x", hashlib.sha256).hexdigest()
    assert sign(b"x", "Jefe", timestamp=1) == known


def test_what_was_signed_is_accepted() -> None:
    assert verify_signature(sign(b"x", SECRET), b"x", SECRET) > NOW
    assert verify_signature(signed(b"x"), b"x", SECRET, now=NOW) == NOW
    assert verify_signature(signed(b""), b"", ["other", SECRET], now=NOW) == NOW


def test_a_secret_can_be_changed_for_another() -> None:
    """The sender signs with both; whoever knows either accepts."""
    old, new = signed(b"x", "old"), signed(b"x", "new")
    both = f"{old},{new.partition(',')[2]}"
    for secret in ("old", "new", ["old", "new"]):
        assert verify_signature(both, b"x", secret, now=NOW) == NOW
    with pytest.raises(ValueError, match="no signature matches"):
        verify_signature(both, b"x", "third", now=NOW)


def test_the_window() -> None:
    header = signed(b"x")
    for age_s in (0, 300, -300):
        verify_signature(header, b"x", SECRET, now=NOW + age_s)
    for age_s in (300.5, -300.5, 10**9):
        with pytest.raises(ValueError, match="s ago"):
            verify_signature(header, b"x", SECRET, now=NOW + age_s)
    with pytest.raises(ValueError, match="s ago"):
        verify_signature(header, b"x", SECRET, now=float("nan"))
    verify_signature(header, b"x", SECRET, now=NOW + 1, tolerance_s=1)
    with pytest.raises(ValueError, match="s ago"):
        verify_signature(header, b"x", SECRET, now=NOW + 2, tolerance_s=1)


GOOD = signed(b"x")
DIGEST = GOOD.partition("v1=")[2]
FORGED: list[str | None] = [
    None,
    "",
    DIGEST,
    f"v1={DIGEST}",
    f"t={NOW}",
    f"t={NOW},v1=",
    f"t={NOW},v0={DIGEST}",
    f"t={NOW},v1={DIGEST[:-1]}",
    f"t={NOW},v1={DIGEST}0",
    f"t={NOW},v1={DIGEST.upper()}",
    f"t={NOW},v1={'0' * 64}",
    f"t={NOW},v1={'é' * 64}",
    f"t={NOW + 1},v1={DIGEST}",
    f"t= {NOW},v1={DIGEST}",
    f"t=+{NOW},v1={DIGEST}",
    f"t={NOW}.0,v1={DIGEST}",
    f"t=1_700_000_000,v1={DIGEST}",
    f"t=١٧٠٠٠٠٠٠٠٠,v1={DIGEST}",
    f"t={'9' * 5000},v1={DIGEST}",
    f"t=,v1={DIGEST}",
    f"t={NOW},t={NOW},v1={DIGEST}",
    f"t={NOW};v1={DIGEST}",
    f"t={NOW}," + ",".join([f"v1={DIGEST}"] * (MAX_SIGNATURES + 1)),
]


@pytest.mark.parametrize("header", FORGED)
def test_what_is_no_signature(header: str | None) -> None:
    with pytest.raises(ValueError) as caught:
        verify_signature(header, b"x", SECRET, now=NOW)
    assert SECRET not in str(caught.value)
    assert DIGEST not in str(caught.value)


def test_the_most_signatures() -> None:
    many = f"t={NOW}," + ",".join([f"v1={'0' * 64}"] * (MAX_SIGNATURES - 1) + [f"v1={DIGEST}"])
    assert verify_signature(many, b"x", SECRET, now=NOW) == NOW
    assert verify_signature(f" t={NOW} , v0=x, v1={DIGEST} ", b"x", SECRET, now=NOW) == NOW


def test_another_body_is_not_what_was_signed() -> None:
    for body in (b"", b"X", b"x ", b"x\n"):
        with pytest.raises(ValueError, match="no signature matches"):
            verify_signature(GOOD, body, SECRET, now=NOW)
    # The dot between time and body keeps the one from becoming the other.
    moved = signed(b"0x", at=NOW // 10)
    with pytest.raises(ValueError, match="no signature matches"):
        verify_signature(moved.replace(f"t={NOW // 10}", f"t={NOW}"), b"x", SECRET, now=NOW)


def test_secrets_that_are_none() -> None:
    secrets: list[Any] = ["", b"", [], [SECRET, ""], 7, [7], None, {SECRET: 7}]
    for secret in secrets:
        with pytest.raises(ConfigError) as caught:
            keys_of(secret)
        assert SECRET not in str(caught.value)


# The route.


def test_a_message_is_published(hooked: Hooked) -> None:
    stream = hooked.follow()
    reply = hooked.post()
    assert (reply.status, json.loads(reply.body)) == (200, {"sent": 1})
    event = stream.read_event()
    assert (event.type, event.data) == ("paid", '{"amount":5}')
    assert hooked.post({**MESSAGE, "target": "user", "id": "7"}).status == 200


def test_without_a_signature_nothing_is_even_parsed(hooked: Hooked) -> None:
    stream = hooked.follow()
    for signature in (None, GOOD, signed(b"{}", "other"), "t=1,v1=x"):
        for body in (MESSAGE, b"nonsense", b"[" * 60_000):
            reply = hooked.post(body, signature)
            assert (reply.status, reply.text) == (401, "the signature is not valid")
            assert reply.head["www-authenticate"] == "HMAC-SHA256"
    hooked.manager.broadcast("end")
    assert stream.read_event().type == "end"


def test_a_signed_body_must_still_be_a_message(hooked: Hooked) -> None:
    for change, named in [
        ({"event": "h3py:reset"}, "$.event"),
        ({"event": "a\r\nid: 7"}, "$.event"),
        ({"target_id": "a\nb"}, "$.target_id"),
        ({"id": 7}, "$.id"),
        ({"id": ""}, "$.id"),
        ({"id": "x" * 129}, "$.id"),
        ({"extra": 1}, "`extra`"),
    ]:
        reply = hooked.post({**MESSAGE, **change})
        assert reply.status == 400
        assert named in reply.text
    assert hooked.post(b"nonsense").status == 400


def test_the_type_and_size_of_a_body(make: Make) -> None:
    hooked = make(max_body_bytes=200)
    body = json.dumps(MESSAGE).encode()
    assert hooked.post(body, kind="text/plain").status == 415
    assert hooked.post(body.ljust(200)).status == 200
    assert hooked.post(body.ljust(201)).status == 413


def test_other_methods(hooked: Hooked) -> None:
    client = hooked.client()
    client.request("GET", PATH)
    reply = client.read_reply()
    assert (reply.status, reply.head["allow"]) == (405, "OPTIONS, POST")


def test_a_request_is_taken_once(hooked: Hooked) -> None:
    stream = hooked.follow()
    body = json.dumps(MESSAGE).encode()
    signature = signed(body)
    assert hooked.post(body, signature).status == 200
    for later_s in (0, 299, 1):
        hooked.clock.advance(later_s)
        assert hooked.post(body, signature).status == 409
    hooked.clock.advance(1)
    assert hooked.post(body, signature).status == 401, "too old, so it need not be remembered"
    assert hooked.post(body).status == 200, "signed anew, without an id: another message"
    assert [event.type for event in stream.read_events(2)] == ["paid", "paid"]


def test_a_second_signature_does_not_make_it_another(make: Make) -> None:
    hooked = make(secret=[SECRET, "new"])
    body = json.dumps(MESSAGE).encode()
    assert hooked.post(body, signed(body)).status == 200
    assert hooked.post(body, signed(body, "new")).status == 409
    assert hooked.post(body, signed(body) + f",v1={'0' * 64}").status == 409


def test_a_message_with_an_id_is_taken_once_however_it_is_signed(hooked: Hooked) -> None:
    message = {**MESSAGE, "id": "evt_1"}
    assert hooked.post(message).status == 200
    hooked.clock.advance(60)
    assert hooked.post(message).status == 409
    assert hooked.post({**message, "data": 6}).status == 409
    assert hooked.post({**message, "id": "evt_2"}).status == 200


def test_a_request_of_the_future_is_remembered_for_as_long_as_it_could_be_repeated(
    hooked: Hooked,
) -> None:
    body = json.dumps(MESSAGE).encode()
    ahead = signed(body, at=NOW + 300)
    assert hooked.post(body, ahead).status == 200
    hooked.clock.advance(600)
    assert hooked.post(body, ahead).status == 409
    hooked.clock.advance(1)
    assert hooked.post(body, ahead).status == 401


def test_what_could_not_be_published_may_come_again(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({**MESSAGE, "id": "evt_1"}).encode()
    from h3py import BackpressureDetected

    def full(*args: Any, **more: Any) -> int:
        raise BackpressureDetected("full")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(hooked.manager, "_publish", full)
        reply = hooked.post(body)
        assert (reply.status, reply.head["retry-after"]) == (503, "9")
    assert hooked.post(body).status == 200
    assert hooked.post(body).status == 409


def test_what_is_remembered_is_bounded(make: Make) -> None:
    hooked = make(max_remembered=3, tolerance_s=10)
    for number in range(3):
        assert hooked.post({**MESSAGE, "id": str(number)}).status == 200
    reply = hooked.post({**MESSAGE, "id": "3"})
    assert (reply.status, reply.head["retry-after"]) == (503, "10")
    assert hooked.post({**MESSAGE, "id": "0"}).status == 409, "what was taken is still known"
    hooked.clock.advance(11)
    assert hooked.post({**MESSAGE, "id": "3"}).status == 200


def test_a_rate_limit(make: Make) -> None:
    hooked = make(rate_limit=RateLimit(2, per_s=60, clock=ManualClock()))
    assert [hooked.post({**MESSAGE, "id": str(n)}).status for n in range(3)] == [200, 200, 429]


def test_a_manager_without_history(make: Make) -> None:
    hooked = make(broker=MemoryBroker(max_events=0))
    stream = hooked.follow()
    assert hooked.post({**MESSAGE, "id": "evt_1"}).status == 200
    event = stream.read_event()
    assert (event.type, event.last_event_id) == ("paid", ""), "its id is the sender's, not ours"


def test_nothing_secret_is_logged(hooked: Hooked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({**MESSAGE, "data": "personal"}).encode()
    hooked.post(body, signed(body, "other"))
    hooked.post(body)
    assert f"{PATH}: a webhook was refused: no signature matches" in caplog.text
    for text in (SECRET, "sesame", "personal", signed(body)[-64:], signed(body, "other")[-64:]):
        assert text not in caplog.text


def test_nothing_secret_is_shown() -> None:
    app = H3()
    SSEManager().mount_webhook(app, secret=SECRET)
    handler = app.routes[-1].handler
    assert SECRET not in repr(handler) + str(app.routes)


# What has been taken.


def test_taken_until_its_end_and_no_longer() -> None:
    taken = Taken(10)
    assert taken.take(b"a", now=0, until=5)
    assert not taken.take(b"a", now=5, until=10)
    assert taken.take(b"a", now=5.001, until=10)
    assert not taken.take(b"a", now=6, until=11)


def test_taken_is_bounded_and_forgets_by_time() -> None:
    taken = Taken(2)
    assert taken.take(b"a", now=0, until=9)
    assert taken.take(b"b", now=0, until=5)
    with pytest.raises(OverflowError):
        taken.take(b"c", now=5, until=10)
    assert taken.take(b"c", now=6, until=10)
    assert not taken.take(b"a", now=6, until=10)
    assert len(taken) == 2


def test_what_is_given_back_can_be_taken_again() -> None:
    taken = Taken(2)
    assert taken.take(b"a", now=0, until=5)
    taken.give_back(b"a")
    assert taken.take(b"a", now=1, until=7)
    assert not taken.take(b"a", now=6, until=9), "the end of the first is not that of the second"
    taken.give_back(b"unknown")


def test_of_many_threads_one_takes_it() -> None:
    taken = Taken(100)
    won: list[bool] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        won.append(taken.take(b"a", now=0, until=5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
