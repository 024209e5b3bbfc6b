"""``mount`` and ``mount_webhook``: a manager's endpoints put into an application.

They are methods of ``SSEManager``. The routes of a mount are a group of their own: what guards
them (CORS, the rate limit, the check of the origin) guards nothing else of the application.
What is wrong with the arguments is a ``ConfigError`` here; an async ``authenticate`` on the
threads backend is one when the application is served, as for every route.

Owner: whoever builds the application, before it is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.app import H3
from h3py.app.checks import whole_number
from h3py.app.functions import kind_of
from h3py.app.middleware import CORS, RateLimit, refuse_cross_origin
from h3py.errors import ConfigError
from h3py.http import check_field
from h3py.manager.endpoints import Endpoints, Script
from h3py.manager.guards import challenged, json_only
from h3py.manager.principal import Grant, Principal
from h3py.manager.webhooks import TOLERANCE_S, Secrets, Webhook, keys_of
from h3py.options import KIB, require_integer, require_seconds

if TYPE_CHECKING:
    from h3py.app.functions import Authorize, Middleware
    from h3py.manager.manager import SSEManager

MAX_MESSAGE_BYTES = 64 * KIB
MAX_PING_BYTES = KIB


def mount(
    manager: SSEManager,
    app: H3,
    prefix: str = "/api/sse",
    *,
    authenticate: Authorize | None = None,
    public_channels: Grant | None = None,
    cors: CORS | None = None,
    rate_limit: RateLimit | None = None,
    hello: bool = True,
    challenge: str = "Bearer",
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> None:
    """Put the endpoints of this manager into an application, below a prefix.

    ``GET {prefix}`` is the stream, ``POST {prefix}/message`` publishes, ``POST {prefix}/ping``
    renews a lease, ``GET {prefix}/stats`` are the statistics, ``GET {prefix}/client.js`` is the
    browser's side.

    Args:
        app: The application.
        prefix: Where they stand.
        authenticate: Gives the `Principal` of a request, or None (401); may raise `HTTPError`;
            False is 403. Every form that a route's ``authorize`` may have: plain (in a worker
            thread on trio, unless it is ``@inline``), async (trio only), or a generator with
            one ``yield``, whose clean-up has run before a stream begins. Without it nobody is
            asked who they are, and nobody may publish or see statistics.
        public_channels: Without ``authenticate``: which channels anybody may follow, in the
            forms of ``Principal.channels``; by default none, so only broadcasts come.
        cors: Which other origins may use the endpoints; by default none.
        rate_limit: How often one client may ask (429); the script is not counted.
        hello: Begin each stream with ``h3py:hello``, which the script needs.
        challenge: WWW-Authenticate of a 401.
        max_message_bytes: Bytes of a posted message (413).

    Raises:
        ConfigError: A value that is not legal, or the application is being served.
        TypeError: ``authenticate`` cannot be called.
    """
    _check_app(app)
    _check_guards(cors, rate_limit)
    if authenticate is not None and public_channels is not None:
        raise ConfigError(
            "mount: public_channels is for a mount without authenticate:"
            " which channels a principal may follow, the Principal says"
        )
    if not isinstance(hello, bool):
        raise ConfigError(f"mount: hello must be True or False, not {hello!r}")
    whole_number("mount: max_message_bytes", max_message_bytes)
    public = None
    if authenticate is None:
        public = _public(() if public_channels is None else public_channels)
    else:
        kind_of(authenticate)
    try:
        check_field("www-authenticate", challenge)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"mount: challenge: {error}") from None
    # An application that is served again may publish before the first stream comes.
    app.on_start(manager.open)
    endpoints = Endpoints(manager, public=public, hello=hello)
    group = app.group(prefix, middleware=[] if cors is None else [cors])
    group.get("/client.js", Script())
    asked: list[Middleware] = [] if rate_limit is None else [rate_limit]
    asked += [refuse_cross_origin(), challenged(challenge)]
    message, ping = json_only(max_message_bytes), json_only(MAX_PING_BYTES)
    who = authenticate
    # The prefix itself; the root has no shorter name than a slash.
    root = "" if group.prefix else "/"
    group.get(root, endpoints.stream, middleware=asked, authorize=who)
    group.post("/message", endpoints.message, middleware=[*asked, message], authorize=who)
    group.post("/ping", endpoints.ping, middleware=[*asked, ping], authorize=who)
    group.get("/stats", endpoints.stats, middleware=asked, authorize=who)


def mount_webhook(
    manager: SSEManager,
    app: H3,
    path: str = "/api/webhooks/example",
    *,
    secret: Secrets,
    tolerance_s: float = TOLERANCE_S,
    max_body_bytes: int = MAX_MESSAGE_BYTES,
    max_remembered: int = 100_000,
    rate_limit: RateLimit | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Let another server publish with signed requests: see `h3py.manager.webhooks`.

    The body is as for ``POST {prefix}/message``, and may have an ``id``.

    Args:
        app: The application.
        path: The route's path.
        secret: What the other server signs with; several while one is changed.
        tolerance_s: Seconds that its clock may be behind or ahead (401 past it).
        max_body_bytes: Bytes of one request (413).
        max_remembered: Messages that are remembered, so that none is taken twice (503).
        rate_limit: How often one client may ask (429).
        clock: Seconds since the epoch; for tests.

    Raises:
        ConfigError: A value that is not legal, or the application is being served.
    """
    _check_app(app)
    _check_guards(None, rate_limit)
    require_seconds("mount_webhook: tolerance_s", tolerance_s)
    whole_number("mount_webhook: max_body_bytes", max_body_bytes)
    require_integer("mount_webhook: max_remembered", max_remembered, minimum=1)
    webhook = Webhook(
        manager,
        keys_of(secret),
        tolerance_s=tolerance_s,
        max_remembered=max_remembered,
        clock=clock,
    )
    guards = [] if rate_limit is None else [rate_limit]
    app.post(path, webhook, middleware=[*guards, json_only(max_body_bytes)])


def _public(channels: Grant) -> Principal:
    try:
        return Principal(channels=channels)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"mount: public_{error}") from None


def _check_app(app: object) -> None:
    if not isinstance(app, H3):
        raise ConfigError(f"mount: {app!r} is not an H3 application")


def _check_guards(cors: object, rate_limit: object) -> None:
    if cors is not None and not isinstance(cors, CORS):
        raise ConfigError(f"mount: cors must be a CORS, not {cors!r}")
    if rate_limit is not None and not isinstance(rate_limit, RateLimit):
        raise ConfigError(f"mount: rate_limit must be a RateLimit, not {rate_limit!r}")
