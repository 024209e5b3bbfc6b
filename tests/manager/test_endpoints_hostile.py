"""Anything at all through the endpoints: an answer of theirs, never a failure of the server's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from h3py import H3, SSEManager, running
from h3py.manager.mounting import MAX_PING_BYTES
from h3py.manager.webhooks import verify_signature
from h3py.options import Backend
from tests.app.kit import Answer, ask
from tests.manager.support.mounted import by_token, token
from tests.support.client import Client

TEXTS = st.text(max_size=140) | st.sampled_from(
    ["h3py:reset", "a\r\nid: 7", "", "x" * 128, "é" * 65]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
ONE_WRONG = st.dictionaries(
    st.sampled_from(["target", "target_id", "event", "data", "key", "metadata", "more"]),
    TEXTS | JSON,
    max_size=1,
)
MESSAGES = st.builds(
    lambda good, wrong: {**good, **wrong},
    st.fixed_dictionaries(
        {"target": st.sampled_from(["channel", "user"]), "target_id": NAMES, "event": NAMES},
        optional={"data": JSON, "key": NAMES, "metadata": st.dictionaries(NAMES, TEXTS | NUMBERS)},
    ),
    ONE_WRONG,
)


@contextmanager
def posting(path: str) -> Iterator[Callable[[bytes], Answer]]:
    """An application in memory; what it answers to a body."""
    manager = SSEManager(heartbeat_s=None)
    app = H3()
    manager.mount(app, authenticate=by_token)
    prepared = app.prepare("threads")
    headers = [*token("ann"), ("Content-Type", "application/json")]
    try:
        yield lambda body: ask(prepared, path, method="POST", headers=headers, body=body)
    finally:
        manager.close()


@given(message=MESSAGES)
def test_any_message_is_published_or_refused(message: dict[str, Any]) -> None:
    with posting("/api/sse/message") as post:
        answer = post(json.dumps(message).encode())
    assert answer.status in (200, 400)
    event(f"{answer.status}")
    if answer.status == 400:
        assert answer.text.isprintable(), "one line, that names what is wrong"
    else:
        assert answer.json == {"sent": 0}
        assert not message["event"].startswith("h3py:")


@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_published_or_refused(body: bytes) -> None:
    too_large = (413,) if len(body) > MAX_PING_BYTES else (400, 404)
    for path, statuses in [("/api/sse/message", (200, 400)), ("/api/sse/ping", too_large)]:
        with posting(path) as post:
            assert post(body).status in statuses


def test_any_query_is_a_stream_or_refused(backend: Backend) -> None:
    app = H3()
    SSEManager().mount(app, authenticate=by_token)
    keys = st.sampled_from(["channels", "client_id", "last_event_id", "user_id", "x"])
    values = st.binary(max_size=140) | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))

    with running(app, backend=backend) as server:

        @given(pairs=st.lists(st.tuples(keys, values), max_size=4))
        def check(pairs: list[tuple[str, bytes]]) -> None:
            query = "&".join(f"{key}={quote_from_bytes(value)}" for key, value in pairs)
            with Client(server.addresses[0]) as client:
                client.request("HEAD", f"/api/sse?{query}", token("bob"))
                assert client.read_reply(head_only=True).status in (200, 400, 403)

        check()


PIECES = st.sampled_from(["t", "v1", "=", ",", "1700000000", "0" * 64, "é", " ", "\0", "v1=", "t="])


@given(
    header=st.text(max_size=300) | st.lists(PIECES, max_size=12).map("".join),
    body=st.binary(max_size=20),
)
def test_any_header_is_no_signature(header: str, body: bytes) -> None:
    """ValueError and nothing else: whatever else it raised would be a 500."""
    with pytest.raises(ValueError):
        verify_signature(header, body, "secret")
