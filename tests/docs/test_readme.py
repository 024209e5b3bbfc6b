"""The README's programs do what it says that they do, on both backends."""

from __future__ import annotations

import re
from typing import Any

from h3py.testing import EventReader, wait_until
from tests.project.test_docs import blocks_of
from tests.support.client import Client
from tests.support.process import ROOT

README = (ROOT / "README.md").read_text()


def program(name: str) -> dict[str, Any]:
    """The names that the program of that file leaves."""
    _, named, after = README.partition(f"`{name}`:")
    assert named, f"the README has no {name}"
    names: dict[str, Any] = {"__name__": name.removesuffix(".py")}
    block = blocks_of(after)[0]
    assert block.info == "python"
    exec(compile(block.code, name, "exec"), names)
    return names


def test_the_clock_ticks_and_has_as_many_lines_as_it_says(serve_app) -> None:
    server = serve_app(program("clock.py")["app"])
    with EventReader(f"{server.url}/clock") as reader:
        assert re.fullmatch(r"\w{3} \w{3} +\d+ [\d:]{8} \d{4}", reader.read_event().data)
    lines = blocks_of(README.partition("`clock.py`:")[2])[0].code.splitlines()
    assert len([line for line in lines if line]) == 8
    assert "Eight lines" in README


def post(server: Any, path: str, body: bytes) -> str:
    with Client(server.addresses[0]) as client:
        client.request("POST", path, body=body)
        return client.read_reply().text


def test_the_manager_replays_what_was_missed(serve_app) -> None:
    names = program("news.py")
    server, manager = serve_app(names["app"]), names["manager"]
    url = f"{server.url}/events"
    with EventReader(url) as reader:
        wait_until(manager.get_connections)
        assert post(server, "/news", b"It works.") == '{"streams":1}'
        first = reader.read_event()
        assert (first.type, first.data) == ("headline", "It works.")
        assert re.fullmatch(r"[0-9a-f]{12}-0{11}1", first.last_event_id)
        assert post(server, "/all", b"to everybody") == '{"streams":1}'
        assert reader.read_event().type == "notice"
    wait_until(lambda: not manager.get_connections())
    assert post(server, "/news", b"You were away.") == '{"streams":0}'
    with EventReader(url, headers=[("last-event-id", first.last_event_id)]) as reader:
        again = [reader.read_event(), reader.read_event()]
    assert [event.data for event in again] == ["to everybody", "You were away."]
