"""The commands, and how their errors are told.

Every option is handed to `ServeOptions` under its name there, so what is legal,
and what the default is, is decided in one place.
"""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from h3py import __version__
from h3py.app import H3
from h3py.backends.server import Server
from h3py.cli.loading import load_app
from h3py.demo import Crowd, make_app
from h3py.errors import ConfigError
from h3py.options import BACKENDS, ServeOptions
from h3py.serving import serve

F = TypeVar("F", bound=Callable[..., Any])

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_DEFAULT = ServeOptions()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="h3py", message="%(prog)s %(version)s")
def main() -> None:
    """Server-sent events at the speed of the kernel, on trio or on threads."""


def _serving_options(command: F) -> F:
    """The options that every command that serves has."""
    for option in reversed(
        (
            click.option(
                "--backend",
                type=click.Choice(BACKENDS),
                default=_DEFAULT.backend,
                show_default=True,
                help="One event loop, or blocking sockets and threads.",
            ),
            click.option("--host", help=f"Address to serve on.  [default: {_DEFAULT.host}]"),
            click.option(
                "--port",
                type=click.IntRange(0, 65535),
                help=f"0 lets the system choose.  [default: {_DEFAULT.port}]",
            ),
            click.option(
                "--log-level",
                type=click.Choice(LOG_LEVELS, case_sensitive=False),
                default="info",
                show_default=True,
                help="What is logged, to standard error.",
            ),
        )
    ):
        command = option(command)
    return command


def _telling_errors(command: F) -> F:
    """End with one line and exit code 1 for a `ConfigError`; with ``--debug``, its traceback."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except ConfigError as error:
            _fail(error, debug=options.get("debug", False))

    return run  # type: ignore[return-value]  # the same parameters, by functools.wraps


def _fail(error: ConfigError, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    click.echo(f"h3py: {' '.join(str(error).split())}", err=True)
    sys.exit(1)


@main.command()
@click.argument("target", metavar="MODULE:APP")
@_serving_options
@click.option("--unix", "unix_path", metavar="PATH", help="Serve on this Unix socket instead.")
@click.option("--fd", type=click.IntRange(0), help="Serve on this listening descriptor instead.")
@click.option("--certificate", metavar="FILE", help="PEM file with the certificates: serve TLS.")
@click.option(
    "--private-key",
    metavar="FILE",
    help="PEM file with its key, unless the certificate's file has it.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help=f"Threads that run plain (def) handlers.  [default: {_DEFAULT.workers}]",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    metavar="NETWORK",
    multiple=True,
    help='Believe X-Forwarded-For and -Proto of this network, or of "unix"; may be repeated.',
)
@click.option("--debug", is_flag=True, help="Show tracebacks, to clients too.")
@_telling_errors
def run(target: str, log_level: str, **options: Any) -> None:
    """Serve the H3 application APP of MODULE.

    The current directory can be imported from; ":app" may be left out.

    \b
      h3py run hello:app --backend threads --port 8000
    """
    _check_usage(options)
    app = load_app(target)
    _serve(app, log_level, options)


@main.command()
@_serving_options
@_telling_errors
def demo(backend: str, log_level: str, **options: Any) -> None:
    """Serve a page that shows live streams."""
    crowd = Crowd()
    logging.getLogger("h3py.stream").addFilter(crowd.leave_out)

    def started(server: Server) -> None:
        crowd.serve_at(server.addresses)
        _tell_where(server)

    _serve(make_app(backend, crowd), log_level, {"backend": backend, **options}, started)


def _check_usage(options: dict[str, Any]) -> None:
    """What cannot be meant together, by the names it has on the command line."""
    given = {name for name, value in options.items() if value is not None}
    places = [
        flag
        for flag, names in (
            ("--host and --port", {"host", "port"}),
            ("--unix", {"unix_path"}),
            ("--fd", {"fd"}),
        )
        if names & given
    ]
    if len(places) > 1:
        raise click.UsageError(f"Give only one of {' or '.join(places)}.")
    if "private_key" in given and "certificate" not in given:
        raise click.UsageError("--private-key needs --certificate.")


def _tell_where(server: Server) -> None:
    everywhere = any(address[:1] in (("0.0.0.0",), ("::",)) for address in server.addresses)
    how = f"{server.options.backend}, all addresses" if everywhere else server.options.backend
    click.echo(f"Serving on {server.url} ({how}), Ctrl-C stops")
    sys.stdout.flush()


def _serve(
    app: H3,
    log_level: str,
    options: dict[str, Any],
    started: Callable[[Server], None] = _tell_where,
) -> None:
    """Serve until it is stopped. An application that has set up logging keeps its own way."""
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    logging.getLogger("h3py").setLevel(log_level.upper())
    given = {name: value for name, value in options.items() if value is not None}
    serve(app, started=started, **given)
