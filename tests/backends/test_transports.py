"""Where a server listens: TCP, Unix sockets, inherited descriptors; proxies before it.

(TLS is in `test_tls`.)
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from h3py import H3, CloseReason, ConfigError, H3Event, running
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


def app_of_peers() -> H3:
    app = H3()
    app.get("/")(lambda event: f"{event.client} {event.url}")
    return app


# -- TCP -----------------------------------------------------------------------


def test_a_port_of_the_systems_choice(serve_app: Serve) -> None:
    server = serve_app(app_of_peers())
    host, port = server.addresses[0]
    assert host == "127.0.0.1"
    assert port > 0
    assert server.url == f"http://127.0.0.1:{port}"
    with Client(server.addresses[0]) as client:
        told = client.get("/", [("Host", f"localhost:{port}")]).text
        ours = client.socket.getsockname()
        assert told == f"{ours} http://localhost:{port}/"


def test_all_addresses_of_a_host(serve_app: Serve) -> None:
    """``localhost`` may be two; both get the same port."""
    server = serve_app(app_of_peers(), host="localhost")
    assert len({address[1] for address in server.addresses}) == 1
    for address in server.addresses:
        with Client(address) as client:
            assert client.get("/").status == 200


def test_ipv6(serve_app: Serve) -> None:
    server = serve_app(app_of_peers(), host="::1")
    assert server.url == f"http://[::1]:{server.addresses[0][1]}"
    with Client(server.addresses[0]) as client:
        assert client.get("/").text.startswith("('::1',")


def test_accepted_sockets_are_set_up(serve_app: Serve) -> None:
    """Small events leave at once, and the kernel does not swallow what nobody reads."""
    stage = Stage("handler", "plain", "sleep")
    server = serve_app(stage.app, notsent_lowat_bytes=30_000)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
        connection = stage.stream.connection
        assert connection is not None
        sock = connection.wire.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, 25) == 30_000  # TCP_NOTSENT_LOWAT
        assert not sock.getblocking()
        assert not os.get_inheritable(sock.fileno())


def test_what_can_be_wrong_with_where_to_serve(
    tmp_path: Path, backend: str, serve_app: Serve
) -> None:
    """One line each, before serving begins."""
    taken = serve_app(H3())
    file = tmp_path / "file"
    file.write_text("not a socket")
    with socket.socket() as unbound, open(file) as opened:
        before = set(os.listdir("/proc/self/fd"))
        for options, told in (
            ({"port": taken.addresses[0][1]}, "the port is in use"),
            ({"host": "no.such.host.invalid"}, "no.such.host.invalid"),
            ({"host": "192.0.2.1"}, "192.0.2.1"),
            ({"unix_path": tmp_path / "no" / "such"}, "no/such"),
            ({"unix_path": file}, "there is a file of that name"),
            ({"fd": 987_654}, "descriptor 987654"),
            ({"fd": unbound.fileno()}, "not listening"),
            ({"fd": opened.fileno()}, "not a socket"),
            ({"certificate": tmp_path / "none.pem"}, "none.pem"),
            ({"certificate": file}, "cannot use certificate"),
            ({"trusted_proxies": ("10.0.0.0/33",)}, "10.0.0.0/33"),
            ({"port": 70_000}, "port must be"),
        ):
            with (
                pytest.raises(ConfigError, match=re.escape(told)) as error,
                running(H3(), backend=backend, **options),
            ):
                pytest.fail(f"served with {options}")
            assert "\n" not in str(error.value)
            assert set(os.listdir("/proc/self/fd")) <= before, f"{options}: a descriptor leaked"
    assert file.read_text() == "not a socket"


def test_an_unknown_backend_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"'asyncio'.*'trio' or 'threads'"),
        running(H3(), backend="asyncio"),
    ):
        pytest.fail("served")


# -- Unix sockets ----------------------------------------------------------------


def test_a_unix_socket(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "h3py.sock"
    with running(app_of_peers(), backend=backend, unix_path=path) as server:
        assert server.url == f"http+unix://{path}"
        with Client(str(path)) as client:
            assert client.get("/").text == "None http://localhost/"
            assert client.get("/").status == 200
    assert not path.exists()


@FLAVOURS
@WAYS
def test_streams_over_a_unix_socket(tmp_path: Path, backend: str, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "sleep")
    path = str(tmp_path / "h3py.sock")
    with running(stage.app, backend=backend, unix_path=path) as server:
        reader = EventReader("http://localhost/stream", unix_path=path)
        assert reader.read_event().data == "here"
        if way == "parked":
            wait_until(lambda: not server.driven)
            stage.stream.send_nowait(stage.last)
            assert reader.read_event().data == "last"
        reader.close()
        stage.go_on.set()
        settled(server, streams=1)
        assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}


def test_a_stale_path_is_taken_over(tmp_path: Path, backend: str) -> None:
    """A socket file that nobody listens on: what a server that was killed has left."""
    path = tmp_path / "h3py.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    with running(app_of_peers(), backend=backend, unix_path=path), Client(str(path)) as client:
        assert client.get("/").status == 200
    assert not path.exists()


def test_a_path_that_is_served_is_left_alone(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "h3py.sock"
    with running(app_of_peers(), backend=backend, unix_path=path):
        with (
            pytest.raises(ConfigError, match="in use"),
            running(H3(), backend=backend, unix_path=path),
        ):
            pytest.fail("served")
        with Client(str(path)) as client:
            assert client.get("/").status == 200


def test_a_path_whose_server_is_too_busy_to_answer_is_left_alone(
    tmp_path: Path, backend: str
) -> None:
    """Its backlog is full, so that a connection to it would have to wait."""
    path = tmp_path / "h3py.sock"
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        full = False
        while not full:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            full = waiting.connect_ex(str(path)) != 0
        with (
            pytest.raises(ConfigError, match="in use"),
            running(H3(), backend=backend, unix_path=path),
        ):
            pytest.fail("served")
        assert path.exists()


def test_a_path_that_another_server_has_taken_since_is_left(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "h3py.sock"
    with socket.socket(socket.AF_UNIX) as other:
        with running(app_of_peers(), backend=backend, unix_path=path):
            path.unlink()
            other.bind(str(path))
        assert path.exists()


# -- an inherited descriptor -----------------------------------------------------


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_descriptor_that_was_inherited(tmp_path: Path, backend: str, family: str) -> None:
    """It stays its owner's: open and, in the case of a path, in place."""
    path = tmp_path / "h3py.sock"
    with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as listener:
        listener.bind(str(path) if family == "unix" else ("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        for _ in range(2):
            with running(app_of_peers(), backend=backend, fd=listener.fileno()) as server:
                assert server.addresses == [address]
                with Client(address) as client:
                    assert client.get("/").status == 200
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert path.exists() == (family == "unix")


# -- proxies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "fields", "client", "scheme"),
    [
        ((), [("X-Forwarded-For", "192.0.2.7")], "127.0.0.1", "http"),
        (("10.0.0.0/8",), [("X-Forwarded-For", "192.0.2.7")], "127.0.0.1", "http"),
        (("127.0.0.0/8",), [("X-Forwarded-For", "192.0.2.7")], "192.0.2.7", "http"),
        (("127.0.0.1",), [("X-Forwarded-Proto", "https")], "127.0.0.1", "https"),
        (
            ("127.0.0.1", "10.0.0.0/8"),
            [("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.1.1.1"), ("X-Forwarded-Proto", "https")],
            "192.0.2.7",
            "https",
        ),
    ],
    ids=["nobody is trusted", "another is", "the peer is", "the scheme", "two proxies"],
)
def test_who_the_client_is(
    serve_app: Serve,
    trusted: tuple[str, ...],
    fields: list[tuple[str, str]],
    client: str,
    scheme: str,
) -> None:
    app = H3()

    @app.get("/")
    def who(event: H3Event) -> str:
        assert event.client is not None
        return f"{event.client[0]} {event.url.partition(':')[0]}"

    server = serve_app(app, trusted_proxies=trusted)
    with Client(server.addresses[0]) as peer:
        assert peer.get("/", fields).text == f"{client} {scheme}"


def test_who_the_client_is_behind_a_proxy_on_a_unix_socket(tmp_path: Path, backend: str) -> None:
    path = str(tmp_path / "h3py.sock")
    for trusted, told in ((("unix",), "('192.0.2.7', 0)"), (("127.0.0.1",), "None")):
        with (
            running(app_of_peers(), backend=backend, unix_path=path, trusted_proxies=trusted),
            Client(path) as client,
        ):
            assert client.get("/", [("X-Forwarded-For", "192.0.2.7")]).text.startswith(told)


# -- silence costs no worker ---------------------------------------------------------


def test_silent_connections_leave_every_worker_free(
    backend: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """200 half heads, 200 idle, 200 parked TLS streams: all 64 workers answer at one moment."""
    app = H3()
    barrier = threading.Barrier(64)
    starts = []

    @app.get("/together")
    def together(event: H3Event) -> str:
        barrier.wait(DEADLINE_S)
        return "together"

    @app.get("/parked")
    def parked(event: H3Event) -> None:
        start = event.start_sse()
        start.send_event_nowait("here")
        starts.append(start)

    app.get("/")(lambda event: "hello")
    with (
        running(app, backend=backend, certificate=certificate) as secure,
        running(app, backend=backend) as plain,
        ExitStack() as stack,
    ):
        for _ in range(200):
            half = stack.enter_context(Client(plain.addresses[0]))
            half.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: ")
            idle = stack.enter_context(Client(plain.addresses[0]))
            assert idle.get("/").text == "hello"
        streams = []
        for server in (secure, plain):
            for _ in range(200 if server is secure else 1):
                tls = trusting if server is secure else None
                client = stack.enter_context(Client(server.addresses[0], tls=tls))
                streams.append(client.open_stream("/parked"))
                assert streams[-1].read_event().data == "here"
        wait_until(lambda: not secure.driven and not plain.driven)
        for server in (secure, plain):
            barrier.reset()
            tls = trusting if server is secure else None
            clients = [stack.enter_context(Client(server.addresses[0], tls=tls)) for _ in range(64)]
            for client in clients:
                client.request("GET", "/together")
            for client in clients:
                assert client.read_reply().text == "together"
        for start in starts:
            start.send_event_nowait("still here")
        for stream in streams:
            assert stream.read_event().data == "still here"
