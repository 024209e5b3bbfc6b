"""Listeners, TLS contexts and limits of descriptors, apart from any server."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from h3py import ServeOptions
from h3py.backends.listeners import (
    close_listeners,
    connection_limit,
    open_listeners,
    prepare_accepted,
    tls_context,
    url_of,
)


def test_listeners_do_not_block_and_may_be_closed_twice(tmp_path: Path) -> None:
    for options in (ServeOptions(port=0), ServeOptions(unix_path=tmp_path / "s")):
        listeners = open_listeners(options)
        for listener in listeners:
            assert not listener.getblocking()
            assert not os.get_inheritable(listener.fileno())
            with pytest.raises(BlockingIOError):
                listener.accept()
        close_listeners(listeners)
        close_listeners(listeners)
    assert list(tmp_path.iterdir()) == []


def test_the_port_can_be_taken_again_at_once() -> None:
    """Connections of before may still be ending (TIME_WAIT)."""
    (listener,) = open_listeners(ServeOptions(port=0))
    port = listener.getsockname()[1]
    with socket.create_connection(listener.getsockname()) as client:
        listener.setblocking(True)
        ours, _ = listener.accept()
        ours.close()  # our side first: it is ours that waits
        assert client.recv(1) == b""
    close_listeners([listener])
    close_listeners(open_listeners(ServeOptions(port=port)))


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")],
)
def test_a_url_that_can_be_opened_on_this_machine(host: str, shown: str) -> None:
    listeners = open_listeners(ServeOptions(host=host, port=0))
    try:
        port = listeners[0].getsockname()[1]
        assert url_of(listeners[0], tls=False) == f"http://{shown}:{port}"
        assert url_of(listeners[0], tls=True) == f"https://{shown}:{port}"
    finally:
        close_listeners(listeners)


def test_the_limit_of_connections_is_what_descriptors_allow() -> None:
    """Nine in ten of the descriptors that the process may have, unless it is said."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
        found = connection_limit(ServeOptions())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard, "the soft limit is raised"
        assert found == int(soft * 0.9)
        assert connection_limit(ServeOptions(max_connections=7)) == 7
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_accepted_sockets_of_every_kind_are_made_ready() -> None:
    for options in (ServeOptions(), ServeOptions(notsent_lowat_bytes=None)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            prepare_accepted(ours, options)
            assert not ours.getblocking()
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as accepted,
        ):
            prepare_accepted(accepted, options)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_context_is_made_where_there_is_a_certificate(certificate: Path) -> None:
    assert tls_context(ServeOptions()) is None
    context = tls_context(ServeOptions(certificate=certificate))
    assert context is not None
    assert context.minimum_version.name == "TLSv1_2"
    assert tls_context(ServeOptions(ssl_context=context)) is context
