"""Answers that no cache keeps (RFC 9111 section 5.2.2.5). Stateless."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.app.functions import inline

if TYPE_CHECKING:
    from h3py.app.event import H3Event


def no_cache() -> Callable[[H3Event], None]:
    """Set ``Cache-Control: no-store``; a handler may set another."""

    @inline
    def forbid(event: H3Event) -> None:
        event.set_header("cache-control", "no-store")

    return forbid
