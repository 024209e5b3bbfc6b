"""Kinds of functions: read once, decide how they are run."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import pytest

from h3py.app.functions import (
    Kind,
    describe,
    inline,
    is_async_context_manager,
    is_context_manager,
    is_inline,
    is_stream,
    kind_of,
    needs_trio,
)


def plain(event: Any) -> None: ...
async def coroutine(event: Any) -> None: ...
def generator(event: Any) -> Any:
    yield


async def async_generator(event: Any) -> Any:
    yield


class Callable:
    def __call__(self, event: Any) -> None: ...

    async def method(self, event: Any) -> None: ...


class AsyncCallable:
    async def __call__(self, event: Any) -> None: ...


class MarkedCallable:
    @inline
    def __call__(self, event: Any) -> None: ...

    @inline
    def method(self, event: Any) -> None: ...


@inline
def marked(event: Any) -> None: ...


@inline
def marked_generator(event: Any) -> Any:
    yield


@functools.wraps(async_generator)
def wrapper(event: Any) -> Any:
    return async_generator(event)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (plain, Kind.PLAIN),
        (lambda event: None, Kind.PLAIN),
        (Callable(), Kind.PLAIN),
        (print, Kind.PLAIN),
        (wrapper, Kind.PLAIN),
        (marked, Kind.INLINE),
        (MarkedCallable(), Kind.INLINE),
        (MarkedCallable().method, Kind.INLINE),
        (coroutine, Kind.COROUTINE),
        (functools.partial(coroutine, None), Kind.COROUTINE),
        (AsyncCallable(), Kind.COROUTINE),
        (Callable().method, Kind.COROUTINE),
        (generator, Kind.GENERATOR),
        (marked_generator, Kind.GENERATOR),
        (functools.partial(generator, None), Kind.GENERATOR),
        (async_generator, Kind.ASYNC_GENERATOR),
    ],
)
def test_kinds(function: Any, kind: Kind) -> None:
    assert kind_of(function) is kind
    assert kind.is_async == (kind in (Kind.COROUTINE, Kind.ASYNC_GENERATOR))
    assert kind.is_stream == (kind in (Kind.GENERATOR, Kind.ASYNC_GENERATOR))


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="'x' is not callable"):
        kind_of("x")  # type: ignore[arg-type]  # on purpose


def test_needing_trio_shows_through_wrappers() -> None:
    assert needs_trio(wrapper)
    assert needs_trio(contextlib.asynccontextmanager(async_generator))
    assert not needs_trio(contextlib.contextmanager(generator))
    assert not needs_trio(plain)


def test_inline_marks_plain_functions_only() -> None:
    assert is_inline(marked)
    assert is_inline(marked_generator)
    assert not is_inline(plain)
    with pytest.raises(TypeError, match="coroutine is async"):
        inline(coroutine)


def test_names() -> None:
    assert describe(plain) == f"{__name__}.plain"
    assert describe(functools.partial(functools.partial(plain), None)) == f"{__name__}.plain"
    assert describe(Callable()) == f"{__name__}.Callable"
    assert describe(Callable().method) == f"{__name__}.Callable.method"


def test_what_is_streamed() -> None:
    class Attaches:
        def __h3_attach__(self, event: Any) -> None: ...

    assert is_stream(generator(None))
    assert is_stream(async_generator(None))
    assert is_stream(Attaches())
    assert not is_stream([1])
    assert not is_stream("text")


def test_context_managers_are_told_from_what_can_be_entered() -> None:
    assert is_context_manager(contextlib.contextmanager(generator)(None))
    assert is_async_context_manager(contextlib.asynccontextmanager(async_generator)(None))
    assert not is_context_manager(contextlib.nullcontext())
    assert not is_async_context_manager(contextlib.nullcontext())
