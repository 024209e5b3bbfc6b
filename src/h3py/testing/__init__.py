"""The test kit: streams in memory, readers with deadlines, a clock in the test's hand.

For tests of applications and of connections::

    from h3py.testing import EventReader, ManualClock, memory_stream, wait_until

Failures are ``AssertionError``. Nothing here sleeps: each wait has one deadline,
which only a failing test reaches.
"""

from h3py.testing.clock import ManualClock
from h3py.testing.conformance import check_connection
from h3py.testing.faults import fault, faults_built
from h3py.testing.memory import MemoryConnection, MemoryPeer
from h3py.testing.pairs import Pair, memory_pair, socket_pair
from h3py.testing.reader import EventReader, SocketReader
from h3py.testing.received import ReceivedStream, StreamReader
from h3py.testing.streams import SoloStream, memory_stream, thread_stream
from h3py.testing.waiting import Deadline, trio_wait_until, wait_until

__all__ = [
    "Deadline",
    "EventReader",
    "ManualClock",
    "MemoryConnection",
    "MemoryPeer",
    "Pair",
    "ReceivedStream",
    "SocketReader",
    "SoloStream",
    "StreamReader",
    "check_connection",
    "fault",
    "faults_built",
    "memory_pair",
    "memory_stream",
    "socket_pair",
    "thread_stream",
    "trio_wait_until",
    "wait_until",
]
