"""The command line, run as a process: what it serves, what it says, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.client import Client
from tests.support.process import Program

pytestmark = pytest.mark.process

APP = """\
from h3py import H3, SSEEvent

app = H3()

@app.get("/hello")
def hello(event):
    return f"hello {event.client and event.client[0]}"

@app.get("/fail")
def fail(event):
    raise RuntimeError("a secret")

@app.get("/count")
def count(event):
    with event.start_sse() as stream:
        number = 0
        while not stream.wait(0.01):
            number += 1
            stream.send_event(SSEEvent(str(number)))

asynchronous = H3()

@asynchronous.get("/later")
async def later(event):
    return "later"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application in it."""
    (tmp_path / "site_app.py").write_text(APP)
    return tmp_path


def h3py(*args: str | Path, cwd: Path) -> Program:
    """The command, started in a directory; Python itself does not import from there (-P)."""
    return Program([sys.executable, "-P", "-m", "h3py", *args], cwd=cwd, env=SOURCES)


def _sources() -> dict[str, str]:
    """A relative PYTHONPATH is one of the project's, not of where the command is started."""
    parts = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in parts.split(os.pathsep) if p)}


SOURCES = _sources()


def address_of(program: Program, backend: str) -> tuple[str, int]:
    """Where it serves, as it says itself."""
    line = program.wait_for_line(r"^Serving on (https?)://(\S+):(\d+) \((\w+)\), Ctrl-C stops$")
    assert line[4] == backend
    return line[2], int(line[3])


def refused(*args: str | Path, cwd: Path, code: int = 1) -> str:
    """What the command says when it does not serve."""
    with h3py(*args, cwd=cwd) as program:
        assert program.wait() == code
        return program.output


@pytest.fixture
def serving(here: Path, backend: str) -> Iterator[Program]:
    with h3py("run", "site_app", "--backend", backend, "--port", "0", cwd=here) as program:
        yield program


def test_it_serves_an_application_of_the_current_directory(serving: Program, backend: str) -> None:
    with Client(address_of(serving, backend)) as client:
        assert client.get("/hello").text == "hello 127.0.0.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_gracefully_in_the_middle_of_a_stream(
    serving: Program, backend: str, number: signal.Signals
) -> None:
    with Client(address_of(serving, backend)) as client:
        stream = client.open_stream("/count")
        assert [event.data for event in stream.read_events(2)] == ["1", "2"]
        serving.send_signal(number)
        stream.read_to_end()  # to the last chunk: a clean end
        client.expect_eof()
    assert serving.wait() == 0
    assert "Traceback" not in serving.output
    serving.wait_for_line(r"stream ended: GET /count shutdown, \d+ events")


def test_a_client_that_is_cut_off_is_logged_and_harms_nobody(
    serving: Program, backend: str
) -> None:
    address = address_of(serving, backend)
    with Client(address) as client:
        client.open_stream("/count").read_events(2)
        client.reset()
    serving.wait_for_line(r"stream ended: GET /count client_closed, \d+ events")
    with Client(address) as client:
        assert client.get("/hello").status == 200
    assert "Traceback" not in serving.output


def test_exceptions_are_shown_to_clients_with_debug_alone(here: Path, backend: str) -> None:
    for flags, shown in ((), False), (("--debug",), True):
        args = ("run", "site_app:app", "--backend", backend, "--port", "0", *flags)
        with h3py(*args, cwd=here) as program, Client(address_of(program, backend)) as client:
            reply = client.get("/fail")
            assert (reply.status, "a secret" in reply.text) == (500, shown)
            program.wait_for_line("RuntimeError: a secret")  # the log has it either way


def test_a_unix_socket(here: Path, backend: str) -> None:
    path = here / "web.sock"
    args = ("run", "site_app", "--backend", backend, "--unix", path, "--trusted-proxy", "unix")
    with h3py(*args, cwd=here) as program:
        program.wait_for_line("^Serving on ")
        with Client(str(path)) as client:
            reply = client.get("/hello", [("X-Forwarded-For", "192.0.2.7")])
            assert reply.text == "hello 192.0.2.7"
        program.send_signal(signal.SIGINT)
        assert program.wait() == 0
    assert not path.exists()


LISTEN_AND_BECOME = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.set_inheritable(listener.fileno(), True)
command = [sys.executable, "-m", "h3py", *sys.argv[1:], "--fd", str(listener.fileno())]
os.execv(sys.executable, command)
"""


def test_an_inherited_descriptor(here: Path, backend: str) -> None:
    args = ("run", "site_app", "--backend", backend)
    command = [sys.executable, "-c", LISTEN_AND_BECOME, *args]
    with (
        Program(command, cwd=here, env=SOURCES) as program,
        Client(address_of(program, backend)) as client,
    ):
        assert client.get("/hello").status == 200


def test_a_descriptor_that_is_not_one(here: Path, backend: str) -> None:
    args = ("run", "site_app", "--backend", backend, "--fd", "77")
    output = refused(*args, cwd=here)
    assert output == "h3py: descriptor 77 is not a socket to serve on: Bad file descriptor\n"


def test_tls(here: Path, backend: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(here / "key.pem"))
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(here / "chain.pem"), append=index > 0)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    args = ("--certificate", "chain.pem", "--private-key", "key.pem")
    with h3py("run", "site_app", "--backend", backend, "--port", "0", *args, cwd=here) as program:
        where = program.wait_for_line(r"^Serving on https://127\.0\.0\.1:(\d+) ")
        with Client(("127.0.0.1", int(where[1])), tls=context) as client:
            assert client.get("/hello").status == 200


def test_a_port_in_use(here: Path, backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in (("run", "site_app"), ("demo",)):
            output = refused(*command, "--backend", backend, "--port", port, cwd=here)
            assert output == f"h3py: cannot serve on 127.0.0.1:{port}: the port is in use\n"


def test_a_unix_path_that_is_taken(here: Path, backend: str) -> None:
    (here / "file").write_text("kept")
    args = ("run", "site_app", "--backend", backend, "--unix")
    output = refused(*args, "file", cwd=here)
    assert output == "h3py: cannot serve on file: there is a file of that name\n"
    assert (here / "file").read_text() == "kept"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(here / "taken"))
        taken.listen()
        output = refused(*args, "taken", cwd=here)
    assert output == "h3py: cannot serve on taken: the socket is in use\n"


def test_all_addresses_are_said_to_be_served(here: Path, backend: str) -> None:
    args = ("run", "site_app", "--backend", backend, "--port", "0", "--host", "0.0.0.0")
    with h3py(*args, cwd=here) as program:
        program.wait_for_line(rf"^Serving on http://127.0.0.1:\d+ \({backend}, all addresses\), ")


def test_a_certificate_that_cannot_be_read(here: Path, backend: str) -> None:
    args = ("run", "site_app", "--backend", backend, "--port", "0", "--certificate")
    assert "missing.pem: no such file" in refused(*args, "missing.pem", cwd=here)
    (here / "broken.pem").write_text("no certificate\n")
    output = refused(*args, "broken.pem", cwd=here)
    assert output.startswith("h3py: cannot use certificate broken.pem: ")
    assert output.count("\n") == 1


def test_async_code_on_threads_names_the_route(here: Path) -> None:
    output = refused(
        "run", "site_app:asynchronous", "--backend", "threads", "--port", "0", cwd=here
    )
    assert output.startswith("h3py: ")
    assert "GET /later (site_app.later)" in output
    assert output.count("\n") == 1


def test_a_module_that_does_not_import_is_one_line_and_a_traceback_with_debug(here: Path) -> None:
    (here / "failing.py").write_text("1 / 0\n")
    output = refused("run", "failing:app", cwd=here)
    assert output.startswith("h3py: cannot import 'failing': ZeroDivisionError: division by zero")
    assert output.count("\n") == 1
    debugged = refused("run", "failing:app", "--debug", cwd=here)
    assert debugged.endswith(output)
    assert "Traceback (most recent call last)" in debugged
    assert 'failing.py", line 1' in debugged


def test_a_proxy_that_is_no_network(here: Path, backend: str) -> None:
    args = ("run", "site_app", "--backend", backend, "--port", "0", "--trusted-proxy", "nginx")
    assert "'nginx' is not a network" in refused(*args, cwd=here)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("run",), "Missing argument 'MODULE:APP'"),
        (("run", "site_app", "--backend", "asyncio"), "'asyncio' is not one of 'trio', 'threads'"),
        (("run", "site_app", "--port", "70000"), "70000 is not in the range"),
        (("run", "site_app", "--port", "http"), "'http' is not a valid integer"),
        (("run", "site_app", "--workers", "0"), "0 is not in the range"),
        (("run", "site_app", "--unix", "a", "--fd", "3"), "only one of --unix or --fd"),
        (("run", "site_app", "--port", "80", "--fd", "3"), "only one of --host and --port or --fd"),
        (("run", "site_app", "--private-key", "k"), "--private-key needs --certificate"),
        (("run", "site_app", "--log-level", "loud"), "'loud' is not one of"),
        (("serve",), "No such command 'serve'"),
        (("demo", "--bakend", "trio"), "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_command_that_cannot_be_understood(here: Path, args: tuple[str, ...], told: str) -> None:
    output = refused(*args, cwd=here, code=2)
    assert told in " ".join(output.split())
    assert "Traceback" not in output


def test_version_and_help(here: Path) -> None:
    from h3py import __version__

    assert refused("--version", cwd=here, code=0) == f"h3py {__version__}\n"
    for command in ((), ("run",), ("demo",)):
        assert "Usage: h3py" in refused(*command, "--help", cwd=here, code=0)
