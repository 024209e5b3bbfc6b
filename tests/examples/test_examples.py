"""The examples, each run as a program on both backends, as its first lines say."""

from __future__ import annotations

import base64
import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, EventStream
from tests.support.process import ROOT, Program
from tests.support.wait import Deadline

pytestmark = pytest.mark.process

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

Address = tuple[str, int]
Start = Callable[[str], Address]


@pytest.fixture
def start(backend: str) -> Iterator[Start]:
    """``start("sse_text.py")`` runs an example, and gives its address."""
    with ExitStack() as programs:

        def run(name: str) -> Address:
            program = programs.enter_context(
                Program.python(f"examples/{name}", "--backend", backend, "--port", "0")
            )
            found = program.wait_for_line(r"^(open|curl -N) http://(\S+):(\d+)/")
            return found[2], int(found[3])

        yield run


def test_each_example_is_tested_here() -> None:
    source = Path(__file__).read_text()
    names = [path.name for path in EXAMPLES]
    assert names, "no examples"
    assert [name for name in names if f'"{name}"' not in source and f"/{name}" not in source] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert f"python examples/{path.name}" in text.split('"""')[1]


def test_minimal(start: Start) -> None:
    with Client(start("sse_minimal.py")) as client:
        stream = client.open_stream("/")
        events = stream.read_to_end()
    assert [event.data for event in events] == [f"hello {number}" for number in range(1, 11)]


def test_counter_goes_on_after_the_last_event_that_was_seen(start: Start) -> None:
    address = start("sse_counter.py")
    with Client(address) as client:
        assert "new EventSource" in client.get("/").text
    with Client(address) as client:
        begin, *counts = client.open_stream("/counter").read_to_end()
        assert (begin.type, begin.data) == ("begin", "after event 0")
        assert [(event.type, event.data) for event in counts] == [
            ("count", str(number)) for number in range(1, 11)
        ]
        last = counts[-1].last_event_id
    with Client(address) as client:
        stream = client.open_stream("/counter", [("Last-Event-ID", last)])
        begin, first = stream.read_events(2)
        assert (begin.data, first.data) == ("after event 10", "11")
        assert stream.parser.retry == 1000


def test_text_arrives_as_it_is(start: Start) -> None:
    with Client(start("sse_text.py")) as client:
        stream = client.open_stream("/")
        events = stream.read_to_end()
    assert [event.type for event in events] == ["text"] * 5
    data = [event.data for event in events]
    assert data[0].split("\n")[3] == "And Eternity in an hour."
    assert data[1] == "古池や\n蛙飛びこむ\n水の音"
    assert data[2] == "  leading spaces, a tab\tand an empty line\n\nare kept"
    assert data[3].endswith("👩‍👩‍👧‍👦")
    assert "\u2028 still the same line" in data[4]
    # As the standard writes it: one data line for each line.
    assert "data: 古池や\ndata: 蛙飛びこむ\ndata: 水の音\n\n".encode() in stream.raw


def test_callback_writes_and_leaves_the_stream_parked(start: Start) -> None:
    address = start("sse_callback.py")
    with Client(address) as listener, Client(address) as speaker:
        stream = listener.open_stream("/progress?job=backup")
        progress = [json.loads(event.data) for event in stream.read_events(6)]
        assert [step["percent"] for step in progress] == [0, 20, 40, 60, 80, 100]
        assert {step["job"] for step in progress} == {"backup"}
        streams = 0
        while not streams:  # parked a moment after its last event
            speaker.request("POST", "/announce", body=b"lunch")
            streams = json.loads(speaker.read_reply().text)["streams"]
        event = stream.read_event()
        assert (streams, event.type, event.data) == (1, "announcement", "lunch")


def test_chat_streams_tokens_and_says_when_it_is_done(start: Start) -> None:
    address = start("sse_chat.py")
    with Client(address) as client:
        assert "new EventSource" in client.get("/").text
        refused = client.get("/answer")
        assert (refused.status, refused.text) == (400, "ask something: /answer?q=...")
    with Client(address) as client:
        *tokens, done = client.open_stream("/answer?q=caf%C3%A9").read_to_end()
    assert {event.type for event in tokens} == {"token"}
    text = "".join(json.loads(event.data)["text"] for event in tokens)
    assert text.startswith("You asked: “café” ")
    assert text.endswith("🙂")
    assert (done.type, json.loads(done.data)) == ("done", {"tokens": len(tokens)})


def test_manager_replays_and_tells_who_is_there(start: Start) -> None:
    address = start("sse_manager.py")
    ada, bob = ({"Authorization": f"Bearer {name}"} for name in ("ada", "bob"))
    with Client(address) as client:
        assert 'import { connect } from "/api/sse/client.js"' in client.get("/?ada").text
        assert client.get("/api/sse/client.js").head["content-type"].startswith("text/javascript")
        assert client.get("/api/sse?channels=news").status == 401

    def publish(token: dict[str, str], target: str, name: str, event: str, data: object) -> int:
        message = {"target": target, "target_id": name, "event": event, "data": data}
        fields = [("Content-Type", "application/json"), *token.items()]
        with Client(address) as client:
            body = json.dumps(message).encode()
            client.request("POST", "/api/sse/message", fields, body=body)
            reply = client.read_reply()
        assert reply.status == 200, reply.text
        return int(json.loads(reply.text)["sent"])

    channel = "/api/sse?channels=news"
    with Client(address) as client, Client(address) as other:
        stream = client.open_stream(channel, list(ada.items()))
        read_until(stream, "h3py:hello")
        read_until(other.open_stream(channel, list(bob.items())), "h3py:hello")
        while read_until(stream, "presence").data != '{"online":["ada","bob"]}':
            pass
        assert publish(bob, "channel", "news", "headline", {"by": "bob", "text": "one"}) == 2
        seen = read_until(stream, "headline")
        assert json.loads(seen.data) == {"by": "bob", "text": "one"}
        assert publish(bob, "user", "ada", "note", "only for you") == 1
        assert read_until(stream, "note").data == "only for you"
        last = stream.parser.last_event_id
    publish(bob, "channel", "news", "headline", {"by": "bob", "text": "missed"})
    publish(bob, "user", "ada", "note", "missed too")
    with Client(address) as client:
        stream = client.open_stream(channel, [("Last-Event-ID", last), *ada.items()])
        assert json.loads(read_until(stream, "headline").data)["text"] == "missed"
        assert read_until(stream, "note").data == "missed too"


def read_until(stream: EventStream, kind: str) -> Any:
    """The next event of a kind."""
    deadline = Deadline()
    while not deadline.passed:
        event = stream.read_event()
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


def test_notifications_come_by_webhook(backend: str) -> None:
    program = Program.python("examples/sse_notifications.py", "--backend", backend, "--port", "0")
    with program:
        found = program.wait_for_line(r"^open http://(\S+):(\d+)/")
        line = program.wait_for_line(r"^curl .*")[0]
        address = (found[1], int(found[2]))
        with Client(address) as client:
            assert 'addHandler("notification:payment"' in client.get("/").text
        with Client(address) as client, Client(address) as forger:
            stream = client.open_stream("/api/sse")
            read_until(stream, "h3py:hello")
            done = subprocess.run(
                ["curl", "-sS", *shlex.split(line)[1:]], capture_output=True, timeout=60, check=True
            )
            assert json.loads(done.stdout) == {"streams": 1}
            told = json.loads(read_until(stream, "notification:payment").data)
            assert (told["amount"], told["severity"]) == ("12.50", "success")
            forger.request("POST", "/webhooks/notify/ada", body=b'{"kind": "payment"}')
            assert forger.read_reply().status == 401


def test_binary_frames_decode_to_what_was_sent(start: Start) -> None:
    address = start("sse_binary.py")
    with Client(address) as client:
        assert "atob(event.data)" in client.get("/").text
    with Client(address) as client:
        frames = client.open_stream("/frames").read_events(3)
    decoded = [base64.b64decode(event.data, validate=True) for event in frames]
    assert [len(frame) for frame in decoded] == [64 * 64] * 3
    assert len(set(decoded)) == 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_ends_gracefully(path: Path, backend: str) -> None:
    with Program.python(path, "--backend", backend, "--port", "0") as program:
        program.wait_for_line("^(open|curl)")
        program.send_signal(signal.SIGINT)
        assert program.wait() == 0
        assert "Traceback" not in program.output


def test_curl_shows_the_example_as_its_docstring_says(start: Start) -> None:
    host, port = start("sse_text.py")
    done = subprocess.run(
        ["curl", "-sN", f"http://{host}:{port}/"], capture_output=True, timeout=60, check=True
    )
    assert b"id: 2\nevent: text\ndata: " in done.stdout
