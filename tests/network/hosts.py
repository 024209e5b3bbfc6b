"""Two hosts of the test's own: network namespaces joined by a cable that can be pulled.

Needs root and iproute2. The addresses exist in the two namespaces and nowhere else; both
are removed at the end, whatever happened.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

SERVER_ADDRESS = "10.203.0.1"
CLIENT_ADDRESS = "10.203.0.2"


class Hosts(NamedTuple):
    """The namespaces' names."""

    server: str
    client: str

    def on_server(self, *command: str) -> list[str]:
        """The command line that runs ``command`` on the server's host."""
        return ["ip", "netns", "exec", self.server, *command]

    def on_client(self, *command: str) -> list[str]:
        """The command line that runs ``command`` on the client's host."""
        return ["ip", "netns", "exec", self.client, *command]

    def pull_cable(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        ip("-n", self.client, "link", "set", "cable", "down")


@contextlib.contextmanager
def two_hosts(number: int) -> Iterator[Hosts]:
    """Two hosts that reach each other; ``number`` tells those of one process apart."""
    name = f"h3py-{os.getpid()}-{number}"
    hosts = Hosts(f"{name}-s", f"{name}-c")
    try:
        for host in hosts:
            ip("netns", "add", host)
            ip("-n", host, "link", "set", "lo", "up")
        ip(
            "-n", hosts.server, "link", "add", "cable", "type", "veth",
            "peer", "name", "cable", "netns", hosts.client,
        )  # fmt: skip
        for host, address in zip(hosts, (SERVER_ADDRESS, CLIENT_ADDRESS), strict=True):
            ip("-n", host, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", host, "link", "set", "cable", "up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    """Run ``ip``; what it complains of is the error's text."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
