"""Middleware that ships with h3py. Each name here is a function that makes one.

::

    app.use(request_log())
    app.use("/api", cors(origins=["https://example.org"]))

All of it is marked inline: it never blocks. It sets headers before the handler
runs, so they leave with responses, streams and errors alike.
"""

from h3py.app.middleware.body_limit import body_limit
from h3py.app.middleware.cors import cors
from h3py.app.middleware.no_cache import no_cache
from h3py.app.middleware.request_log import request_log
from h3py.app.middleware.security_headers import security_headers

__all__ = ["body_limit", "cors", "no_cache", "request_log", "security_headers"]
