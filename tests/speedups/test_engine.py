"""The engine as a whole, under random use: see ``support.machine``."""

from __future__ import annotations

from tests.speedups.support.machine import EngineMachine


class TwoPumps(EngineMachine):
    pumps = 2


TestEngineWithOnePump = EngineMachine.TestCase
TestEngineWithTwoPumps = TwoPumps.TestCase
