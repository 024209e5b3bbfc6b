"""The command line: ``h3py run``, ``h3py demo``.

Rules. A command says what is wrong in one line on standard error, and nothing
has been started by then. Exit codes: 0 after a graceful end, 2 for a command
that cannot be understood, 1 for one that cannot be done (`ConfigError`).
"""

from h3py.cli.commands import main

__all__ = ["main"]
