"""gunicorn's thread worker with a bare WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.app.base import BaseApplication

from bench.others.common import BODY, listen, options


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """13 bytes, whatever is asked for."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, told what its command line would tell it."""

    def load_config(self) -> None:
        self.cfg.set("bind", f"fd://{listen().detach()}")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", 64)
        self.cfg.set("keepalive", 75)
        self.cfg.set("loglevel", "error")
        # Its worker is a second process; one that the parent's end takes with it.
        self.cfg.set("graceful_timeout", 1)

    def load(self) -> Callable[..., Iterable[bytes]]:
        return application


if __name__ == "__main__":
    options()
    Server().run()
