"""What every request to a manager's endpoints passes, before anybody asks who it is.

Middleware for the routes of ``SSEManager.mount`` and ``mount_webhook``: cheap looks at the
head, so that what cannot be right costs nothing more. Stateless, inline, and for any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from h3py.app import inline
from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.app import H3Event
    from h3py.http import Response

JSON = "application/json"


def json_only(max_bytes: int) -> Callable[[H3Event], None]:
    """Answer 415 to a POST of anything but JSON, and 413 to one of more than ``max_bytes``.

    The content type is also what keeps forms of other sites out: a browser sends no JSON to
    another origin before a preflight has allowed it (Fetch, section 2.2.2).
    """

    @inline
    def check(event: H3Event) -> None:
        if event.method != "POST":
            return
        lines = event.headers.get_all("content-type")
        kind = lines[0].partition(";")[0].strip().lower() if len(lines) == 1 else ""
        if kind != JSON:
            raise HTTPError(415, f"the body must be {JSON}", headers={"accept": JSON})
        if event.headers.get("content-encoding", "identity").lower() != "identity":
            # RFC 9110 section 15.5.16: the answer says what would be taken.
            raise HTTPError(
                415, "the body must not be encoded", headers={"accept-encoding": "identity"}
            )
        event.limit_body(max_bytes)

    return check


def challenged(challenge: str) -> Callable[[H3Event], Generator[None, Response | None, None]]:
    """See that each 401 has a WWW-Authenticate (RFC 9110 section 15.5.2), whoever raised it."""

    @inline
    def challenge_client(event: H3Event) -> Generator[None, Response | None, None]:
        try:
            yield
        except HTTPError as error:
            if error.status == 401:
                known = {name.lower() for name in error.headers}
                if "www-authenticate" not in known:
                    error.headers["www-authenticate"] = challenge
            raise

    return challenge_client
