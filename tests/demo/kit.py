"""What tests of the demo share: its application served, a window without a browser."""

from __future__ import annotations

import json
from typing import Any

from tests.support.client import Client, EventStream
from tests.support.wait import Deadline


def post(address: Any, target: str, body: Any = None, **headers: str) -> Any:
    """POST JSON (or bytes as they are); gives the reply."""
    raw = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
    with Client(address) as client:
        fields = [("Content-Type", "application/json"), *headers.items()]
        client.request("POST", target, fields, body=raw)
        return client.read_reply()


class Window:
    """A window of the page: a stream, and what it says of itself."""

    def __init__(self, address: Any, name: str, *rooms: str, tab: str = "", last: str = "") -> None:
        self.address = address
        self.name = name
        self.tab = tab or f"tab of {name}"
        self.client = Client(address)
        channels = ["clock", "pulse", "here", "notifications", "crowd"]
        every = ",".join([*channels, "room:lobby", "room:library", "room:kitchen"])
        fields = [("Last-Event-ID", last)] if last else []
        self.stream: EventStream = self.client.open_stream(f"/api/sse?channels={every}", fields)
        self.client_id = self.until("h3py:hello")["client_id"]
        self.answer = self.follow(*channels, *(f"room:{room}" for room in rooms))

    def follow(self, *channels: str) -> Any:
        """Say who this is and what it follows; gives the answer."""
        said = {"tab": self.tab, "client_id": self.client_id, "name": self.name}
        reply = post(self.address, "/live/enter", {**said, "channels": list(channels)})
        assert reply.status == 200, reply
        return json.loads(reply.text)

    def say(self, text: str, room: str = "lobby") -> Any:
        """Say something; gives the reply."""
        return post(self.address, "/live/say", {"tab": self.tab, "room": room, "text": text})

    def until(self, kind: str, **fields: Any) -> Any:
        """The data of the next event of a kind that has these fields."""
        deadline = Deadline()
        while not deadline.passed:
            event = self.stream.read_event()
            self.last_event_id = event.last_event_id
            if event.type == kind:
                data = json.loads(event.data)
                if {**data, **fields} == data:
                    return data
        raise AssertionError(f"no {kind} with {fields}")

    def close(self) -> None:
        self.client.close()
