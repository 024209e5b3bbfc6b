"""Who gets what: subscriptions, publishing, presence, history."""

from h3py.manager.broker import Broker, MemoryBroker
from h3py.manager.info import ConnectionInfo
from h3py.manager.manager import SSEManager
from h3py.manager.notifications import Notifications
from h3py.manager.options import ManagerOptions
from h3py.manager.principal import Principal
from h3py.manager.subscription import Subscription

__all__ = [
    "Broker",
    "ConnectionInfo",
    "ManagerOptions",
    "MemoryBroker",
    "Notifications",
    "Principal",
    "SSEManager",
    "Subscription",
]
