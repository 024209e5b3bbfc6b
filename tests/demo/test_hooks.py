"""The demo's webhook: what is signed goes to every window, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h3py import H3
from h3py.demo.hooks import EXPORT_STEPS, MAX_BODY, SAMPLES, add_hooks
from h3py.demo.live import Live
from h3py.manager.notification_kinds import KINDS
from h3py.manager.webhooks import sign
from tests.demo.kit import Window, post


@pytest.fixture
def address(serve_app: Callable[..., Any]) -> Any:
    app = H3()
    live = Live()
    live.add_to(app)
    add_hooks(app, live)
    return serve_app(app).addresses[0]


@pytest.fixture
def ada(address: Any) -> Iterator[Window]:
    window = Window(address, "Ada")
    yield window
    window.close()


def signed(address: Any, sample: str, message: str = "") -> tuple[bytes, str]:
    """A body as the page would post it, and its signature."""
    reply = post(address, "/live/sign", {"sample": sample, "message": message})
    assert reply.status == 200, reply.text
    found = json.loads(reply.text)
    return found["body"].encode(), found["signature"]


def test_there_is_a_sample_of_every_kind_but_the_export() -> None:
    kinds = {make("").kind for make in SAMPLES.values()}
    assert kinds == set(KINDS) - {"data_export"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_signed_goes_to_every_window(address: Any, ada: Window, sample: str) -> None:
    body, signature = signed(address, sample, "it's “this”")
    assert b"'" not in body, "it would end the quotes of a shell"
    reply = post(address, "/webhooks/notify", body, **{"X-Signature": signature})
    assert (reply.status, json.loads(reply.text)) == (200, {"streams": 1})
    kind = json.loads(body)["kind"]
    told = ada.until(f"notification:{kind}")
    assert told == json.loads(body)
    assert told["message"] == "it's “this”"


def test_what_is_not_signed_is_refused(address: Any) -> None:
    body, signature = signed(address, "payment")
    forged = body.replace(b"42.00", b"42000")
    for raw, given in [
        (body, None), (forged, signature), (body, signature[:-1] + "0"[: signature[-1] != "0"]),
        (body, sign(body, "another secret")), (body, "nonsense"), (b"", signature),
    ]:  # fmt: skip
        fields = {"X-Signature": given} if given is not None else {}
        assert post(address, "/webhooks/notify", raw, **fields).status == 401


def test_a_body_that_is_too_large_is_refused(address: Any) -> None:
    for size, status in ((MAX_BODY, 401), (MAX_BODY + 1, 413)):
        assert post(address, "/webhooks/notify", b" " * size).status == status


def test_samples_are_asked_for_by_name(address: Any) -> None:
    for asked in ({"sample": "party"}, {"sample": "payment", "message": "x" * 201}, {}):
        assert post(address, "/live/sign", asked).status == 400


def test_an_export_tells_of_its_progress_and_there_is_one_at_a_time(
    address: Any, ada: Window
) -> None:
    assert post(address, "/live/export").status == 204
    assert post(address, "/live/export").status == 409
    percents = []
    while not percents or percents[-1] < 100:
        percents.append(ada.until("notification:data_export")["percent"])
    assert percents == [100 * step / EXPORT_STEPS for step in range(EXPORT_STEPS + 1)]
