"""Webhooks: another server posts a message, and shows that it knows the secret.

Theory. The sender signs the time and the body: HMAC-SHA256 over ``"{t}.{body}"``, sent as
``X-Signature: t=1700000000,v1=5257a8...`` (the form that Stripe made common; several ``v1``
while a secret is changed). What was signed long ago is refused, in either direction of
``tolerance_s``, so whoever records a request can repeat it only for that long; and for that
long the route remembers what it has taken, by the body's own ``id`` or, without one, by its
signature, so it cannot be repeated at all.

Rules. The signature is looked at before the body is: what is not signed is never parsed.
Signatures are compared in constant time. All that is wrong with one gets the same answer
(401); the log says what it was, without the secret, the signature or the body. What is
remembered is bounded: at the bound the route answers 503 rather than forget what could then
be repeated.

Owner: the route; any thread, its memory under a lock.
"""

from __future__ import annotations

import hmac
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from h3py.app import inline
from h3py.errors import ConfigError, HTTPError
from h3py.manager.messages import Message, check_text, publish, read_message

if TYPE_CHECKING:
    from h3py.app import H3Event
    from h3py.manager.publisher import Publisher

HEADER = "x-signature"
TOLERANCE_S = 300.0
MAX_SIGNATURES = 8
"""Signatures in one header: two secrets are usual while one is changed for the other."""

Secret = str | bytes
Secrets = Secret | Sequence[Secret]

# RFC 9110 section 11.1: a challenge begins with a scheme. This one has no parameters.
CHALLENGE = "HMAC-SHA256"

_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

_log = logging.getLogger("h3py.manager")


class WebhookMessage(Message, frozen=True, kw_only=True):
    """What is posted: a message, and what the sender calls it.

    Attributes:
        id: The same for each attempt to deliver this message: it is taken once.
    """

    id: str | None = None


def sign(body: bytes, secret: Secret, *, timestamp: float | None = None) -> str:
    """The value of ``X-Signature`` for a body.

    Args:
        body: The bytes that will be sent, exactly.
        secret: What both sides know.
        timestamp: Seconds since the epoch; by default now.

    Raises:
        ConfigError: The secret is empty, or none.
    """
    (key,) = keys_of(secret)
    moment = str(int(time.time() if timestamp is None else timestamp))
    return f"t={moment},v1={_digest(key, moment, body)}"


def verify_signature(
    header: str | None,
    body: bytes,
    secret: Secrets,
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> float:
    """Check that a body was signed, and not long ago.

    Args:
        header: The value of ``X-Signature``.
        body: The bytes that came, exactly.
        secret: What both sides know; or several, any of which will do.
        tolerance_s: Seconds that the sender's clock may be behind or ahead.
        now: Seconds since the epoch; by default the system's.

    Returns:
        When it was signed, in seconds since the epoch.

    Raises:
        ValueError: It was not, or not now; the message says which, and is for the log.
        ConfigError: A secret is empty, or none.
    """
    keys = keys_of(secret)
    moment, signatures = _parse(header)
    expected = [_digest(key, moment, body) for key in keys]
    # Every pair is compared, each in constant time: how long it takes tells nothing.
    matches = [hmac.compare_digest(given, own) for given in signatures for own in expected]
    if not any(matches):
        raise ValueError("no signature matches")
    signed_at = float(moment)
    age_s = (time.time() if now is None else now) - signed_at
    if not abs(age_s) <= tolerance_s:
        raise ValueError(f"signed {age_s:.0f} s ago, which is more than {tolerance_s:g} s")
    return signed_at


def keys_of(secret: Secrets) -> tuple[bytes, ...]:
    """One secret or several, as bytes.

    Raises:
        ConfigError: There is none, or one is empty or no text or bytes. It does not show them.
    """
    several: Sequence[object] = (secret,) if isinstance(secret, str | bytes) else secret
    if not isinstance(several, Sequence):
        raise ConfigError(f"a secret is a str or bytes, not {type(several).__name__}")
    keys = []
    for one in several:
        key = one.encode() if isinstance(one, str) else one
        if not isinstance(key, bytes):
            raise ConfigError(f"a secret is a str or bytes, not {type(key).__name__}")
        if not key:
            raise ConfigError("a secret is empty: anybody could sign")
        keys.append(key)
    if not keys:
        raise ConfigError("there is no secret: nobody could sign")
    return tuple(keys)


def _parse(header: str | None) -> tuple[str, list[str]]:
    """The time as it was signed, and the signatures of the one scheme that is known."""
    if not header:
        raise ValueError("there is no signature")
    moments: list[str] = []
    signatures: list[str] = []
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        if name == "t":
            moments.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(moments) != 1 or not _TIME.fullmatch(moments[0]):
        raise ValueError("the signature has no time")
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise ValueError(f"{len(signatures)} signatures, where 1 to {MAX_SIGNATURES} may be")
    if not all(map(_DIGEST.fullmatch, signatures)):
        raise ValueError("a signature is not 64 hexadecimal digits in lower case")
    return moments[0], signatures


def _digest(key: bytes, moment: str, body: bytes) -> str:
    return hmac.new(key, moment.encode() + b"." + body, "sha256").hexdigest()


class Taken:
    """What has been taken, for as long as it could be repeated; bounded.

    Args:
        most: How many are remembered at once.
    """

    __slots__ = ("_by_end", "_known", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[bytes, float] = {}
        self._by_end: list[tuple[float, bytes]] = []

    def take(self, name: bytes, *, now: float, until: float) -> bool:
        """Remember a name until then; False: it is known already.

        Raises:
            OverflowError: As many as may be are remembered.
        """
        key = _short(name)
        with self._lock:
            while self._by_end and self._by_end[0][0] < now:
                end, old = heappop(self._by_end)
                if self._known.get(old) == end:
                    del self._known[old]
            if key in self._known:
                return False
            if len(self._by_end) >= self._most:
                raise OverflowError(f"{self._most} are remembered")
            self._known[key] = until
            heappush(self._by_end, (until, key))
            return True

    def give_back(self, name: bytes) -> None:
        """Forget a name: what it stands for was not done after all."""
        with self._lock:
            self._known.pop(_short(name), None)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)


def _short(name: bytes) -> bytes:
    """A fixed size, whatever the sender sends."""
    return blake2b(name, digest_size=16).digest()


class Webhook:
    """The handler of a webhook's route: checks the signature and publishes.

    Args:
        manager: Who publishes.
        keys: The secrets, as ``keys_of`` gives them.
        tolerance_s: As for ``verify_signature``.
        max_remembered: Messages that are remembered at once (503 past it).
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        manager: Publisher,
        keys: tuple[bytes, ...],
        *,
        tolerance_s: float,
        max_remembered: int,
        clock: Callable[[], float],
    ) -> None:
        self._manager = manager
        self._keys = keys
        self._tolerance_s = tolerance_s
        self._clock = clock
        self._taken = Taken(max_remembered)

    def __repr__(self) -> str:
        return "<Webhook>"

    @inline
    def __call__(self, event: H3Event) -> dict[str, int]:
        """Answer a post: ``{"sent": n}``, or 400, 401, 409, 503."""
        now = self._clock()
        lines = event.headers.get_all(HEADER)
        try:
            signed_at = verify_signature(
                ",".join(lines), event.body, self._keys, tolerance_s=self._tolerance_s, now=now
            )
        except ValueError as error:
            _log.warning("%s: a webhook was refused: %s", event.request.path, error)
            raise HTTPError(
                401, "the signature is not valid", headers={"www-authenticate": CHALLENGE}
            ) from None
        options = self._manager.options
        message = read_message(event, WebhookMessage, max_name_bytes=options.max_name_bytes)
        if message.id is not None:
            check_text("$.id", message.id, options.max_name_bytes)
        # Without an id of its own it is known by what was signed.
        name = (
            b"at %d." % signed_at + event.body
            if message.id is None
            else b"id " + message.id.encode()
        )
        self._take(name, now, max(now, signed_at) + self._tolerance_s)
        try:
            return {"sent": publish(self._manager, message)}
        except BaseException:
            self._taken.give_back(name)  # the sender is to try again
            raise

    def _take(self, name: bytes, now: float, until: float) -> None:
        try:
            is_new = self._taken.take(name, now=now, until=until)
        except OverflowError:
            wait_s = max(1, math.ceil(self._tolerance_s))
            raise HTTPError(
                503, "too many messages at once", headers={"retry-after": str(wait_s)}
            ) from None
        if not is_new:
            raise HTTPError(409, "this message was taken already")
