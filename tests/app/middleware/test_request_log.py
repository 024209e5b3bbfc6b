"""The request log: one line each, whatever became of the request."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from h3py.app import H3, H3Event
from h3py.app.middleware import request_log
from h3py.errors import HTTPError
from h3py.options import Backend
from tests.app.kit import app_with, ask, for_backend, recorded_streams


def ticking() -> Any:
    """A clock that goes on by half a second at each look."""
    times: Iterator[float] = iter(number / 2 for number in range(1000))
    return lambda: next(times)


def fails(status: int | None) -> Any:
    def handler(event: H3Event) -> None:
        raise KeyError if status is None else HTTPError(status)

    return handler


def stream(event: H3Event) -> None:
    event.start_sse()


def late(event: H3Event) -> None:
    event.start_sse()
    raise KeyError


@pytest.mark.parametrize(
    ("handler", "status", "streams"),
    [
        (lambda event: "x", 200, False),
        (lambda event: None, 204, False),
        (fails(404), 404, False),
        (fails(None), 500, False),
        (stream, 200, True),
        (late, 200, True),
    ],
    ids=["text", "nothing", "error", "failure", "stream", "failed stream"],
)
def test_one_line_a_request(
    handler: Any,
    status: int,
    streams: bool,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "h3py.access")
    app = app_with(request_log(clock=ticking()), handler=for_backend(handler, backend))
    with recorded_streams(monkeypatch):
        ask(app, "/?token=secret", backend=backend)
    (record,) = [record for record in caplog.records if record.name == "h3py.access"]
    fields = record.__dict__
    assert {name: fields[name] for name in ("client", "method", "path", "status", "stream")} == {
        "client": "192.0.2.7", "method": "GET", "path": "/", "status": status, "stream": streams,
    }  # fmt: skip
    assert fields["duration_ms"] == 500
    word = " stream" if streams else ""
    assert record.message == f"192.0.2.7 GET / {status}{word} 500.0 ms"
    assert record.levelno == logging.INFO


def test_no_line_can_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "h3py.access")
    ask(app_with(request_log()), "/%0d%0aforged")
    (record,) = caplog.records
    assert "GET /%0d%0aforged 404" in record.message


def test_a_logger_and_a_level_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mine")
    ask(app_with(request_log(logging.getLogger("mine"), level=logging.DEBUG)), client=None)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mine", logging.DEBUG)
    assert record.message.startswith("- GET / 200")


def test_a_request_that_was_interrupted(caplog: pytest.LogCaptureFixture) -> None:
    class Interruption(BaseException):
        pass

    def handler(event: H3Event) -> None:
        raise Interruption

    caplog.set_level(logging.INFO, "h3py.access")
    with pytest.raises(Interruption):
        ask(app_with(request_log(), handler=handler))
    assert "GET / 499" in caplog.text


def test_it_is_not_written_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "h3py.access")
    app: H3 = app_with(request_log())
    assert ask(app).text == "fine"
    assert caplog.records == []
