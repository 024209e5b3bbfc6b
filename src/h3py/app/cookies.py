"""Cookies: the Cookie header of a request, and Set-Cookie lines (RFC 6265).

Rules. What a client sends is read leniently: what is no ``name=value`` is
skipped, of two cookies with one name the first counts (section 5.4: the more
specific path comes first). What goes out is strict: a name, value or attribute
that a browser would misread or drop raises ``ValueError``; nothing is escaped
behind the caller's back.

Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

SameSite = Literal["strict", "lax", "none"]

MAX_COOKIE_BYTES = 4096
"""Name and value together; browsers drop what is larger (RFC 6265bis section 5.6)."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_COOKIE_OCTET = re.compile(r"[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")
_NOT_ATTRIBUTE = re.compile(r"[^\x20-\x3a\x3c-\x7e]")
_DOMAIN = re.compile(r"\.?[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?")
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


def parse_cookies(lines: Iterable[str]) -> dict[str, str]:
    """The cookies of the Cookie header lines, in the order they were sent."""
    cookies: dict[str, str] = {}
    for line in lines:
        for pair in line.split(";"):
            name, equals, value = pair.partition("=")
            name, value = name.strip(" \t"), value.strip(" \t")
            if not equals or not name or name in cookies:
                continue
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]  # the quotes are no part of the value (section 4.1.1)
            cookies[name] = value
    return cookies


def format_cookie(
    name: str,
    value: str,
    *,
    max_age_s: int | None = None,
    expires: datetime | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    http_only: bool = True,
    same_site: SameSite | None = "lax",
    partitioned: bool = False,
) -> str:
    """The value of a Set-Cookie line (RFC 6265 section 4.1).

    Args:
        name: A token.
        value: Visible ASCII without ``" , ; \\``: encode other text first.
        max_age_s: Seconds until it expires; 0 or less: at once.
        expires: When it expires; must know its time zone.
        path: Where it is sent back; None: the directory of this request.
        domain: Which hosts it is sent back to; None: this one only.
        secure: Over https only.
        http_only: Not shown to scripts.
        same_site: ``"none"`` needs ``secure``. None: the browser's default.
        partitioned: A jar of its own for each top-level site; needs ``secure``.

    Raises:
        ValueError: Any part that is not legal, naming it.
        TypeError: ``max_age_s`` is no integer.
    """
    _check_name(name, path=path, domain=domain, secure=secure)
    bad = _NOT_COOKIE_OCTET.search(value)
    if bad is not None:
        raise ValueError(f"cookie {name!r}: its value must not contain {bad.group()!r}")
    if len(name) + len(value) > MAX_COOKIE_BYTES:
        raise ValueError(f"cookie {name!r} is over {MAX_COOKIE_BYTES} bytes: browsers drop it")
    parts = [f"{name}={value}"]
    if max_age_s is not None:
        if isinstance(max_age_s, bool) or not isinstance(max_age_s, int):
            raise TypeError(f"cookie {name!r}: max_age_s must be whole seconds, not {max_age_s!r}")
        parts.append(f"Max-Age={max_age_s}")
        if max_age_s <= 0:
            parts.append(f"Expires={_EPOCH}")
    elif expires is not None:
        if expires.tzinfo is None:
            raise ValueError(f"cookie {name!r}: expires must have a time zone")
        parts.append(f"Expires={format_datetime(expires.astimezone(UTC), usegmt=True)}")
    if domain is not None:
        if _DOMAIN.fullmatch(domain) is None:
            raise ValueError(f"cookie {name!r}: {domain!r} is not a domain")
        parts.append(f"Domain={domain}")
    if path is not None:
        if not path.startswith("/") or _NOT_ATTRIBUTE.search(path):
            raise ValueError(f"cookie {name!r}: {path!r} is not a path")
        parts.append(f"Path={path}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    if same_site is not None:
        if same_site not in ("strict", "lax", "none"):
            raise ValueError(f"cookie {name!r}: same_site must be 'strict', 'lax' or 'none'")
        if same_site == "none" and not secure:
            raise ValueError(f"cookie {name!r}: same_site='none' needs secure=True")
        parts.append(f"SameSite={same_site.title()}")
    if partitioned:
        if not secure:
            raise ValueError(f"cookie {name!r}: partitioned needs secure=True")
        parts.append("Partitioned")
    return "; ".join(parts)


def _check_name(name: str, *, path: str | None, domain: str | None, secure: bool) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a cookie name")
    lower = name.lower()
    if lower.startswith("__secure-") and not secure:
        raise ValueError(f"cookie {name!r}: the prefix __Secure- needs secure=True")
    if lower.startswith("__host-") and not (secure and path == "/" and domain is None):
        raise ValueError(
            f"cookie {name!r}: the prefix __Host- needs secure=True, path='/' and no domain"
        )
