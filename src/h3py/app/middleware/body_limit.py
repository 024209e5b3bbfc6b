"""A limit on request bodies, narrower than the server's, for a part of an application.

The server's own limit (`h3py.options.Limits.body_bytes`) is the one that
protects memory: this one sees bodies that passed it. Stateless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.app.checks import whole_number
from h3py.app.functions import inline

if TYPE_CHECKING:
    from h3py.app.event import H3Event


def body_limit(max_bytes: int) -> Callable[[H3Event], None]:
    """Answer 413 to requests with a larger body; a streamed one when it gets there.

    Raises:
        ConfigError: ``max_bytes`` is not 0 or more.
    """
    whole_number("body_limit: max_bytes", max_bytes)

    @inline
    def limit(event: H3Event) -> None:
        event.limit_body(max_bytes)

    return limit
