"""Servers and load clients as pinned processes, and what /proc says of them.

The server has one core and the load client another, so that neither steals from
the other; threads of a server share its core. Every process here is started,
bounded in time and ended by its own pid. Nothing is asserted: these are readings.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "bench" / "native"
BUILD = NATIVE / "build"

SERVER_CORE, CLIENT_CORE = 0, 1
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
END_TIMEOUT_S = 5.0

# Whether servers and clients take the cores from whatever else runs; set by the command line.
claim = False


class RunFailed(Exception):
    """A server or client that did not do its part; says which, and what it printed."""


def build_native() -> None:
    """Compile the floor and the load client where they are older than their sources."""
    done = subprocess.run(
        ["make", "-s", "-C", str(NATIVE)], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RunFailed(
            f"bench/native does not build (it needs make and a C compiler):\n{done.stderr}"
        )


def enough_cores() -> bool:
    """Whether server and client can have a core each."""
    return {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0)


def _place(core: int, urgent: bool) -> Callable[[], None]:
    """What the child does before its program starts."""

    def place() -> None:
        os.sched_setaffinity(0, {core})
        if urgent:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))

    return place


def cpu_s(pid: int) -> float:
    """Seconds of processor time of a process, user and system, all its threads."""
    # The name in parentheses may contain anything: what follows its last one is fixed.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def private_kib(pid: int) -> int:
    """Memory that belongs to a process alone, in KiB: what would be free without it."""
    kib = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            kib += int(line.split()[1])
    return kib


def busy_s() -> float:
    """Seconds that the two cores have been busy with anything at all, since boot."""
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        if line.split()[0] in (f"cpu{SERVER_CORE}", f"cpu{CLIENT_CORE}"):
            # user nice system idle iowait irq softirq steal
            fields = [int(field) for field in line.split()[1:9]]
            total += (sum(fields) - fields[3] - fields[4]) * TICK_S
    return total


class Process:
    """A child that prints JSON lines; ended on leaving the block.

    ``urgent`` lets it run before all others of its core, where that is permitted: for a
    client that times a few requests beside another client that is busy.
    """

    def __init__(self, argv: Sequence[str], *, core: int, urgent: bool = False) -> None:
        self.argv = list(argv)
        self._core = core
        self._urgent = urgent
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on leaving the block

    def __enter__(self) -> Self:
        environment = dict(os.environ)
        # The checkout counts, whether the package is installed or not.
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT / "src"), str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        )
        self._child = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=claim,
            preexec_fn=_place(self._core, self._urgent),  # noqa: PLW1509 - one thread here
        )
        if claim:
            # Each session is a scheduling group; this one's share becomes the largest there is.
            with contextlib.suppress(OSError):
                Path(f"/proc/{self.pid}/autogroup").write_text("-20")
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def read(self) -> dict[str, Any]:
        """The next JSON line. The children bound their own time, so this ends."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._child.wait(END_TIMEOUT_S)
            raise RunFailed(f"{' '.join(self.argv)}: {self._said()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end_input(self) -> None:
        """Close its standard input: what a holding client waits for."""
        assert self._child.stdin is not None
        self._child.stdin.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().strip()[-2000:] or f"exit code {self._child.returncode}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()
        self._errors.close()


class ServerProcess(Process):
    """A server whose first line is ``{"port": N}``."""

    port: int

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(argv, core=SERVER_CORE)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.port = self.read()["port"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self


class ClientProcess(Process):
    """The load client, aimed at a server."""

    def __init__(
        self,
        server: ServerProcess,
        mode: str,
        *arguments: str,
        urgent: bool = False,
    ) -> None:
        super().__init__(
            [str(BUILD / "client"), mode, "--port", str(server.port), *arguments],
            core=CLIENT_CORE,
            urgent=urgent,
        )

    def until(self, phase: str) -> None:
        """Read on to the line that says so."""
        while self.read().get("phase") != phase:
            pass


def run_window(
    server: ServerProcess, mode: str, *arguments: str, urgent: bool = False
) -> dict[str, Any]:
    """Run a load client to its end; its figures, with the server's CPU during its window.

    Returns:
        What the client printed, and ``server_cpu`` (core-seconds per second) and
        ``foreign_cpu`` (what others took of the two cores, likewise).
    """
    with ClientProcess(server, mode, *arguments, urgent=urgent) as client:
        client.until("begin")
        began, busy, cpu = time.monotonic(), busy_s(), cpu_s(server.pid)
        client.until("end")
        ended = time.monotonic()
        cpu, busy = cpu_s(server.pid) - cpu, busy_s() - busy
        figures = client.read()
    length = ended - began
    figures["server_cpu"] = cpu / length
    figures["foreign_cpu"] = max(0.0, busy / length - cpu / length - figures["client_cpu"])
    return figures


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores, kernel, Python. No names."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 1024**2, 1),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
    }
