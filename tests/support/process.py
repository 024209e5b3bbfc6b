"""Programs run as real processes: started, watched line by line, stopped by their own pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.wait import DEADLINE_S, Deadline

ROOT = Path(__file__).resolve().parents[2]
"""The top of the project."""


class Program:
    """A process whose output (both streams, in the order written) is collected as it comes.

    A thread reads the pipe; ``lines`` grows under a condition that waiters sleep on.
    Leaving the ``with`` block stops the process.

    Args:
        args: The command; ``Program.python("-m", "h3py", ...)`` for this interpreter.
        env: Added to the environment.
        cwd: The top of the project by default.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.args = [str(part) for part in args]
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            self.args,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._collect, name="program output", daemon=True)
        self._reader.start()

    @classmethod
    def python(cls, *args: str | Path, env: Mapping[str, str] | None = None) -> Self:
        """A program for this test's own interpreter."""
        return cls([sys.executable, *args], env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self.lines)

    def wait_for_line(self, pattern: str, *, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """The first line, past or to come, in which ``pattern`` is found."""
        deadline = Deadline(deadline_s)
        expression = re.compile(pattern)
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if found := expression.search(line):
                        return found
                seen = len(self.lines)
                if self._ended:
                    raise AssertionError(self._told(f"ended without {pattern!r}"))
                if not self._changed.wait(deadline.left_s) and deadline.passed:
                    raise AssertionError(
                        self._told(f"not within {deadline.seconds:g} s: {pattern!r}")
                    )

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Its exit code, once it has ended by itself and all its output is there."""
        try:
            code = self.process.wait(Deadline(deadline_s).left_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._told(f"still runs after {deadline_s:g} s")) from None
        self._reader.join()
        return code

    def stop(self, *, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM, or SIGKILL where that does not end it in time; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(Deadline(deadline_s).left_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.returncode

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _told(self, what: str) -> str:
        return f"{' '.join(self.args)}: {what}; its output:\n{''.join(self.lines)}"
