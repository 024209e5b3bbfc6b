"""``authorize``: every form of it has ended before the handler is called."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
import trio

from h3py.app import H3, H3Event, inline
from h3py.errors import HTTPError
from h3py.options import Backend
from tests.app.kit import Answer, ask, for_backend, recorded_streams

trace: list[Any] = []


@pytest.fixture(autouse=True)
def _clean_trace() -> None:
    trace.clear()


def plain(event: H3Event) -> str:
    trace.append("opened")
    trace.append("closed")
    return "ann"


def generator(event: H3Event) -> Generator[str, None, None]:
    trace.append(("opened", threading.get_ident()))
    yield "ann"
    trace.append(("closed", threading.get_ident()))


@contextlib.contextmanager
def context_manager(event: H3Event) -> Generator[str, None, None]:
    trace.append(("opened", threading.get_ident()))
    yield "ann"
    trace.append(("closed", threading.get_ident()))


async def coroutine(event: H3Event) -> str:
    trace.append("opened")
    await trio.lowlevel.checkpoint()
    trace.append("closed")
    return "ann"


async def async_generator(event: H3Event) -> AsyncGenerator[str, None]:
    trace.append("opened")
    await trio.lowlevel.checkpoint()
    yield "ann"
    await trio.lowlevel.checkpoint()
    trace.append("closed")


@contextlib.asynccontextmanager
async def async_context_manager(event: H3Event) -> AsyncGenerator[str, None]:
    trace.append("opened")
    await trio.lowlevel.checkpoint()
    yield "ann"
    await trio.lowlevel.checkpoint()
    trace.append("closed")


def names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else entry[0] for entry in entries]


def authorized(
    backend: Backend, authorize: Callable[[H3Event], Any], handler: Any = None
) -> Answer:
    app = H3()

    def whoami(event: H3Event) -> str:
        trace.append("handler")
        return str(event.principal)

    app.get("/", handler or for_backend(whoami, backend), authorize=authorize)
    return ask(app, backend=backend)


@pytest.mark.parametrize("form", [plain, generator, context_manager])
def test_it_ends_before_the_handler(form: Any, backend: Backend) -> None:
    assert authorized(backend, form).text == "ann"
    assert names(trace) == ["opened", "closed", "handler"]
    assert len({entry[1] for entry in trace if isinstance(entry, tuple)}) <= 1, "one thread"


@pytest.mark.parametrize("form", [coroutine, async_generator, async_context_manager])
def test_async_forms_end_before_the_handler(form: Any) -> None:
    assert authorized("trio", form).text == "ann"
    assert names(trace) == ["opened", "closed", "handler"]


def test_an_inline_form_runs_in_the_serving_thread(backend: Backend) -> None:
    @inline
    def here(event: H3Event) -> int:
        return threading.get_ident()

    assert authorized(backend, here).text == str(threading.get_ident())


@pytest.mark.parametrize("form", [generator, context_manager])
def test_it_ends_before_a_stream_begins(
    form: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(event: H3Event) -> Generator[str, None, None]:
        yield event.principal

    with recorded_streams(monkeypatch) as streams:
        authorized(backend, form, stream)
    assert names(trace) == ["opened", "closed"]
    assert next(streams[0][1]) == "ann"


def test_errors_and_false_refuse(backend: Backend) -> None:
    def refuse(event: H3Event) -> None:
        raise HTTPError(401, headers={"www-authenticate": "Bearer"})

    answer = authorized(backend, for_backend(refuse, backend))
    assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")
    assert authorized(backend, for_backend(lambda event: False, backend)).status == 403
    assert trace == []


def test_no_principal_is_nobody(backend: Backend) -> None:
    assert authorized(backend, for_backend(lambda event: None, backend)).text == "None"


@pytest.mark.parametrize("count", [0, 2])
def test_a_generator_yields_once(
    count: int, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def many(event: H3Event) -> Generator[int, None, None]:
        yield from range(count)

    async def many_async(event: H3Event) -> AsyncGenerator[int, None]:
        for number in range(count):
            yield number

    assert authorized(backend, many).status == 500
    assert "many must yield exactly once" in caplog.text
    assert authorized("trio", many_async).status == 500
    assert "many_async must yield exactly once" in caplog.text


def test_clean_up_runs_when_it_fails(backend: Backend) -> None:
    def fails(event: H3Event) -> Generator[None, None, None]:
        try:
            if event.method == "GET":
                raise HTTPError(403)
            yield
        finally:
            trace.append("closed")

    assert authorized(backend, fails).status == 403
    assert trace == ["closed"]
