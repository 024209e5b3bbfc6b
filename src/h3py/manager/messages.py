"""Messages that clients post, from their bytes to the manager's ``send_*``.

Rules. A body is checked by msgspec against `Message` and then for what a type cannot say;
whatever is wrong is a 400 that names the field (``$.target_id[2]``), before anything is
published. Names and event names are text of a bounded size without control characters, so
nothing of a message can end a line in a log; that nothing ends a line of a stream is the
formatter's own rule. Event names that begin with ``h3py:`` are the manager's: nobody forges
a ``h3py:reset``.

What the manager says to a message that is fine becomes a status here, and only here: 503 with
Retry-After where it has no room or is closing, 413 for an event that it could never hold.

Plain functions without state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import msgspec

from h3py.errors import (
    BackpressureDetected,
    BrokerError,
    EventTooLarge,
    HTTPError,
    ManagerClosed,
    SSEError,
)

if TYPE_CHECKING:
    from h3py.app import H3Event
    from h3py.manager.publisher import Publisher

RESERVED = "h3py:"
MAX_TARGETS = 100
"""Users or channels that one message may name."""

Target = Literal["channel", "user", "client", "broadcast"]
M = TypeVar("M", bound="Message")


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is posted.

    Attributes:
        target: Whom it is for.
        target_id: A name; or a list of them, for users and channels. Nothing for a broadcast.
        event: The event's name.
        data: Any JSON: text arrives as it is, null as an empty text, the rest as JSON.
        key: As for ``SSEManager.broadcast``.
        metadata: As for ``SSEManager.broadcast``.
    """

    target: Target
    event: str
    target_id: str | list[str] | None = None
    data: Any = None
    key: str | None = None
    metadata: dict[str, str | int | float | bool] | None = None

    @property
    def names(self) -> list[str]:
        """The names it is for; none for a broadcast."""
        if self.target_id is None:
            return []
        return [self.target_id] if isinstance(self.target_id, str) else self.target_id


def read_message(event: H3Event, kind: type[M], *, max_name_bytes: int) -> M:
    """The message in a request's body, checked.

    Raises:
        HTTPError: 400, naming the field.
    """
    message = event.read_json(kind)
    check_text("$.event", message.event, max_name_bytes)
    if message.event.startswith(RESERVED):
        _refuse("$.event", f"names that begin with {RESERVED!r} are the server's own")
    if message.key is not None:
        check_text("$.key", message.key, max_name_bytes)
    for name in message.metadata or ():
        check_text("$.metadata: a key", name, max_name_bytes)
    _check_target(message, max_name_bytes)
    return message


def _check_target(message: Message, max_name_bytes: int) -> None:
    given = message.target_id
    if message.target == "broadcast":
        if given is not None:
            _refuse("$.target_id", "a broadcast is for everyone: leave it out")
    elif given is None:
        _refuse("$.target_id", f"missing: which {message.target}?")
    elif isinstance(given, str):
        check_text("$.target_id", given, max_name_bytes)
    elif message.target == "client":
        _refuse("$.target_id", "one client at a time: expected `str`")
    elif not 1 <= len(given) <= MAX_TARGETS:
        _refuse("$.target_id", f"1 to {MAX_TARGETS} names, not {len(given)}")
    else:
        check_texts("$.target_id", given, max_name_bytes)


def check_text(field: str, value: str, max_bytes: int) -> None:
    """Refuse what is no name: see the module.

    Raises:
        HTTPError: 400, naming the field.
    """
    if not value:
        _refuse(field, "must not be empty")
    if len(value.encode("utf-8", "surrogatepass")) > max_bytes:
        _refuse(field, f"must be at most {max_bytes} bytes of UTF-8")
    if not value.isprintable() and any(is_control(character) for character in value):
        _refuse(field, "must not contain control characters")


def check_texts(field: str, values: Iterable[str], max_bytes: int) -> None:
    """As ``check_text``, for each of several names."""
    for position, value in enumerate(values):
        check_text(f"{field}[{position}]", value, max_bytes)


def is_control(character: str) -> bool:
    """Whether a character is a control, or half of a pair: neither has a place in a name."""
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"


def _refuse(field: str, why: str) -> NoReturn:
    raise HTTPError(400, f"{field}: {why}")


def publish(manager: Publisher, message: Message) -> int:
    """Send a message that was checked; how many streams it goes to.

    Raises:
        HTTPError: 503 with Retry-After: no room, or closing. 413: too large. 400: a value that
            no event can carry.
    """
    more: dict[str, Any] = {"key": message.key, "metadata": message.metadata}
    event, data, names = message.event, message.data, message.names
    try:
        if message.target == "broadcast":
            return manager.broadcast(event, data, **more)
        if message.target == "client":
            return int(manager.send_to_client(names[0], event, data, **more))
        if message.target == "user":
            return manager.send_to_users(names, event, data, **more)
        return manager.send_to_channels(names, event, data, **more)
    except SSEError as error:
        raise as_answer(error, manager.options.retry_after_s) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise HTTPError(400, f"the event cannot be sent: {error}") from error


def as_answer(error: SSEError, retry_after_s: int) -> HTTPError | SSEError:
    """A manager's error as the answer to whoever posted; what is none of theirs, as it is."""
    later = {"retry-after": str(retry_after_s)}
    if isinstance(error, BackpressureDetected):
        return HTTPError(503, "more is published than can be sent: try again", headers=later)
    if isinstance(error, ManagerClosed):
        return HTTPError(503, "the server is stopping", headers=later)
    if isinstance(error, BrokerError):
        return HTTPError(503, "the broker is away", headers=later)
    if isinstance(error, EventTooLarge):
        return HTTPError(413, "the event is too large")
    return error
