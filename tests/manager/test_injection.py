"""Nothing that a caller passes forges a field, an event or a header: on the wire, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import h3py
from h3py import H3, H3Event, SSEManager, Subscription
from h3py.testing import EventReader
from tests.support.client import Client
from tests.support.wait import wait_until

NASTY = st.text(
    st.one_of(
        st.sampled_from(list("\r\n\0: \u2028\u2029\x0b\x0c\x1c\x85\ufeffdi")),
        st.characters(exclude_categories=("Cs",), max_codepoint=0x2FFFF),
    ),
    max_size=30,
)
NAMES = NASTY.filter(lambda name: 0 < len(name.encode()) <= 128)
EVENT_NAMES = NASTY.filter(lambda name: not {"\r", "\n"} & set(name))

_FEW = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


class Place:
    """A served manager whose streams say everything in their query."""

    def __init__(self, manager: SSEManager, server: Any) -> None:
        self.manager = manager
        self.server = server

    def target(self, **query: str) -> str:
        return "/events?" + "&".join(
            f"{key}={quote(value, safe='')}" for key, value in query.items()
        )


@pytest.fixture(scope="module", params=["trio", "threads"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    manager = SSEManager()
    app = H3()

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        query = event.query
        return manager.subscribe(
            event,
            [query["channel"]] if "channel" in query else (),
            query.get("user"),
            query.get("client"),
            {"name": query["user"]} if "user" in query else None,
        )

    with h3py.running(app, backend=request.param, port=0) as server:
        yield Place(manager, server)


@_FEW
@given(channel=NAMES, user=NAMES, client=NAMES)
def test_names_stay_off_the_wire(place: Place, channel: str, user: str, client: str) -> None:
    """Whatever they are, they only say where an event goes."""
    manager = place.manager
    url = place.server.url + place.target(channel=channel, user=user, client=client)
    with EventReader(url) as reader:
        wait_until(lambda: manager.is_client_connected(client))
        (info,) = manager.get_connections()
        assert (info.client_id, info.user_id, info.channels) == (client, user, (channel,))
        assert manager.send_to_channel(channel, "to", "1") == 1
        assert manager.send_to_user(user, "to", "2") == 1
        assert manager.send_to_client(client, "to", "3") is True
        events = reader.read_events(3)
        assert [(event.type, event.data) for event in events] == [("to", d) for d in "123"]
        lines = reader.received.raw.split(b"\n")
        fields = {line.split(b":")[0] for line in lines if line}
        assert fields == {b"retry", b"id", b"event", b"data"}
        assert sum(line.startswith(b"data:") for line in lines) == 3
    wait_until(lambda: not manager.stats()["connections"])  # also those that are ending


@_FEW
@given(
    name=EVENT_NAMES,
    data=NASTY,
    key=NASTY,
    metadata=st.dictionaries(NASTY.filter(lambda key: not key.startswith("\0")), NASTY, max_size=3),
)
def test_an_event_is_one_event(
    place: Place, name: str, data: str, key: str, metadata: dict[str, str]
) -> None:
    """What arrives is the name and the data as the standard reads them, and nothing else."""
    manager = place.manager
    with EventReader(place.server.url + place.target(client="a")) as reader:
        wait_until(lambda: manager.is_client_connected("a"))
        manager.broadcast(name, data, key=key, metadata=metadata)
        manager.broadcast("json", [data], metadata=metadata)
        manager.broadcast("end")
        first, second, end = reader.read_events(3)
        assert first.type == (name or "message")
        assert first.data == data.replace("\r\n", "\n").replace("\r", "\n")
        assert second.type == "json"
        assert h3py.SSEEvent.json([data]).data in (second.data, second.data.encode())
        assert end.type == "end"
        ids = [event.last_event_id for event in (first, second, end)]
        assert len(set(ids)) == 3
    wait_until(lambda: not manager.stats()["connections"])  # also those that are ending


@_FEW
@given(seen=NASTY.filter(lambda seen: seen != ""))
def test_what_a_client_says_it_has_seen_is_never_sent_back(place: Place, seen: str) -> None:
    manager = place.manager
    target = place.target(client="a", last_event_id=seen)
    with EventReader(place.server.url + target) as reader:
        wait_until(lambda: manager.is_client_connected("a"))
        assert reader.read_event().type == "h3py:reset"
        manager.broadcast("end", "x")
        end = reader.read_event()
        assert (end.type, end.data) == ("end", "x")
    wait_until(lambda: not manager.stats()["connections"])  # also those that are ending


@pytest.mark.parametrize("wrong", ["a\r\nx-forged: 1", "a\0b", "a\nb"], ids=range(3))
def test_names_are_in_no_header_of_a_refusal(place: Place, wrong: str) -> None:
    """A limit's answer repeats nothing of what it was asked with."""
    manager = place.manager
    with EventReader(place.server.url + place.target(client=wrong, user="anna")):
        wait_until(lambda: manager.is_client_connected(wrong))
        with Client(place.server.addresses[0]) as client:
            reply = client.get(place.target(client=wrong, user="bert"))
        assert reply.status == 409
        assert reply.head.get("x-forged") is None
        assert "forged" not in reply.text
    wait_until(lambda: not manager.stats()["connections"])  # also those that are ending
