"""Headers that tell browsers to be careful. Stateless; the list is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.app.checks import whole_number
from h3py.app.functions import inline
from h3py.errors import ConfigError
from h3py.http import check_field

if TYPE_CHECKING:
    from h3py.app.event import H3Event


def security_headers(
    *,
    content_type_options: str | None = "nosniff",
    frame_options: str | None = "DENY",
    referrer_policy: str | None = "strict-origin-when-cross-origin",
    opener_policy: str | None = "same-origin",
    content_security_policy: str | None = None,
    permissions_policy: str | None = None,
    hsts_max_age_s: int | None = None,
) -> Callable[[H3Event], None]:
    """Set security headers on every answer; a handler may set others in their place.

    Args:
        content_type_options: X-Content-Type-Options.
        frame_options: X-Frame-Options.
        referrer_policy: Referrer-Policy.
        opener_policy: Cross-Origin-Opener-Policy.
        content_security_policy: Content-Security-Policy; the application knows its own.
        permissions_policy: Permissions-Policy.
        hsts_max_age_s: Strict-Transport-Security, over https only (RFC 6797 section 7.2).

    ``None`` leaves a header out.

    Raises:
        ConfigError: A value that cannot be sent.
    """
    given = {
        "x-content-type-options": content_type_options,
        "x-frame-options": frame_options,
        "referrer-policy": referrer_policy,
        "cross-origin-opener-policy": opener_policy,
        "content-security-policy": content_security_policy,
        "permissions-policy": permissions_policy,
    }
    headers = [(name, value) for name, value in given.items() if value is not None]
    for name, value in headers:
        try:
            check_field(name, value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"security_headers: {error}") from None
    if hsts_max_age_s is not None:
        whole_number("security_headers: hsts_max_age_s", hsts_max_age_s)

    @inline
    def protect(event: H3Event) -> None:
        for name, value in headers:
            event.set_header(name, value)
        if hsts_max_age_s is not None and event.scheme == "https":
            event.set_header("strict-transport-security", f"max-age={hsts_max_age_s}")

    return protect
