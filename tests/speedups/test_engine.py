"""The engine as a whole, under random use: see ``support.machine``."""

from __future__ import annotations

import pytest

from tests.speedups.support.machine import EngineMachine


class TwoPumps(EngineMachine):
    pumps = 2


class Faulty(EngineMachine):
    faults = True


TestEngineWithOnePump = EngineMachine.TestCase
TestEngineWithTwoPumps = TwoPumps.TestCase
TestEngineWithFaults = pytest.mark.faults(Faulty.TestCase)
