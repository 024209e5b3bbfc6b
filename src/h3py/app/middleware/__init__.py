"""Middleware that ships with h3py. A name in lower case is a function that makes one.

::

    app.use(request_log())
    app.use("/api", CORS(origins=["https://example.org"]))
    app.use("/api", RateLimit(100, per_s=60))

All of it is marked inline: it never blocks. It sets headers before the handler
runs, so they leave with responses, streams and errors alike.
"""

from h3py.app.middleware.body_limit import body_limit
from h3py.app.middleware.cors import CORS
from h3py.app.middleware.cross_origin import refuse_cross_origin
from h3py.app.middleware.no_cache import no_cache
from h3py.app.middleware.rate_limit import RateLimit
from h3py.app.middleware.request_log import request_log
from h3py.app.middleware.security_headers import security_headers

__all__ = [
    "CORS",
    "RateLimit",
    "body_limit",
    "no_cache",
    "refuse_cross_origin",
    "request_log",
    "security_headers",
]
