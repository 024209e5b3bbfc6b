"""A peer whose host or cable is gone acknowledges nothing, and no packet says so.

The client's end of a cable between two namespaces is pulled. The server's heartbeats stay
unacknowledged, and the stream ends with ``timeout`` after three of them: long before the
kernel gives up. A reader that is merely paused acknowledges, and stays.
"""

from __future__ import annotations

import signal
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.network.hosts import SERVER_ADDRESS, two_hosts
from tests.support.process import Program

SERVER = Path(__file__).with_name("half_open_server.py")
_numbers = count()


@pytest.mark.network
@pytest.mark.process
@pytest.mark.parametrize("way", ["parked", "driven"])
def test_a_peer_that_acknowledges_nothing_is_dead_and_a_paused_one_is_not(
    backend: str, way: str
) -> None:
    with two_hosts(next(_numbers)) as hosts:
        server = Program(hosts.on_server(sys.executable, str(SERVER), backend))
        url = f"http://{SERVER_ADDRESS}:3000"
        with server:
            server.wait_for_line("serving")
            # The paused one is on the server's own host: its packets need no cable.
            paused = Program(hosts.on_server("curl", "-sN", f"{url}/{way}/paused"))
            lost = Program(hosts.on_client("curl", "-sN", f"{url}/{way}/lost"))
            with paused, lost:
                paused.wait_for_line("data: hello")
                lost.wait_for_line("data: hello")
                paused.send_signal(signal.SIGSTOP)
                hosts.pull_cable()
                server.wait_for_line("lost ended: timeout")
                with Program(hosts.on_server("curl", "-s", f"{url}/open")) as asked:
                    asked.wait_for_line("^1$")
                paused.send_signal(signal.SIGCONT)
                assert "paused ended" not in server.output
