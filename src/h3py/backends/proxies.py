"""Who the client is, when a trusted proxy stands between.

Forwarded addresses are believed only from peers that the options name: anybody
can send the header. The list is read from the right, past every address that
is a trusted proxy itself; the first that is not is the client (MDN,
X-Forwarded-For, "selecting an IP address").
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from h3py.errors import ConfigError
from h3py.http import Headers

Address = tuple[str, int] | None
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=16)
def trusted_networks(trusted: tuple[str, ...]) -> tuple[tuple[Network, ...], bool]:
    """The networks named, and whether peers on a Unix socket are trusted.

    Raises:
        ConfigError: Something that is neither a network nor ``"unix"``.
    """
    networks = []
    for item in trusted:
        if item == "unix":
            continue
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            raise ConfigError(f"trusted_proxies: {item!r} is not a network: {error}") from error
    return tuple(networks), "unix" in trusted


def client_and_scheme(
    address: Any, scheme: str, headers: Headers, trusted: tuple[str, ...]
) -> tuple[Address, str]:
    """The client's address and scheme, as the peer says if it is trusted, else as they are."""
    peer: Address = (address[0], address[1]) if isinstance(address, tuple) else None
    if not trusted:
        return peer, scheme
    networks, unix = trusted_networks(trusted)
    if not (unix if peer is None else _is_in(peer[0], networks)):
        return peer, scheme
    forwarded_scheme = headers.get("x-forwarded-proto", "").strip().lower()
    if forwarded_scheme in ("http", "https"):
        scheme = forwarded_scheme
    hops = [hop.strip() for line in headers.get_all("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return peer, scheme  # not an address: nothing to the left of it can be believed
        peer = (hop, 0)
        if not _is_in(hop, networks):
            break
    return peer, scheme


def _is_in(host: str, networks: tuple[Network, ...]) -> bool:
    address = _address(host)
    return any(address in network for network in networks)


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    """What one client has for itself: its IPv4 address, or the /64 of its IPv6 one.

    Whoever has one address of IPv6 has 2**64 of them (RFC 6177 section 2): a limit for each
    would be none. What is no address stands for itself.
    """
    try:
        address = _address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without its zone; IPv4 also where it is written as IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
