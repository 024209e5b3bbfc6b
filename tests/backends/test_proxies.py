"""Who the client is behind a proxy: nobody is believed who is not named."""

from __future__ import annotations

import pytest

from h3py import ConfigError, Headers
from h3py.backends.proxies import client_and_scheme, network_of, trusted_networks

PEER = ("127.0.0.1", 5000)
LOOPBACK = ("127.0.0.0/8",)


def forwarded(*lines: str, proto: str | None = None) -> Headers:
    pairs = [("X-Forwarded-For", line) for line in lines]
    return Headers.of(pairs + ([("X-Forwarded-Proto", proto)] if proto else []))


@pytest.mark.parametrize(
    ("trusted", "headers", "seen"),
    [
        # Nobody trusted: whatever is claimed.
        ((), forwarded("192.0.2.7", proto="https"), (PEER, "http")),
        (("192.0.2.0/24",), forwarded("192.0.2.7", proto="https"), (PEER, "http")),
        # The last entry is what our proxy saw; what stands before it, its client may have made up.
        (LOOPBACK, forwarded("192.0.2.7"), (("192.0.2.7", 0), "http")),
        (LOOPBACK, forwarded("6.6.6.6, 192.0.2.7"), (("192.0.2.7", 0), "http")),
        (LOOPBACK, forwarded("6.6.6.6", "192.0.2.7"), (("192.0.2.7", 0), "http")),
        # Our own proxies in a row are passed over.
        (LOOPBACK, forwarded("192.0.2.7, 127.0.0.9"), (("192.0.2.7", 0), "http")),
        (LOOPBACK, forwarded("127.0.0.8, 127.0.0.9"), (("127.0.0.8", 0), "http")),
        # What is no address ends the search: nothing to its left can be believed.
        (LOOPBACK, forwarded("192.0.2.7, unknown"), (PEER, "http")),
        (LOOPBACK, forwarded("192.0.2.7, nonsense, 127.0.0.9"), (("127.0.0.9", 0), "http")),
        (LOOPBACK, forwarded(""), (PEER, "http")),
        (LOOPBACK, forwarded(" 192.0.2.7 ,"), (PEER, "http")),
        # IPv6, also as the peer of a socket that serves both.
        (LOOPBACK, forwarded("2001:db8::1"), (("2001:db8::1", 0), "http")),
        # The scheme is one of two words.
        (LOOPBACK, forwarded(proto="https"), (PEER, "https")),
        (LOOPBACK, forwarded(proto="HTTPS "), (PEER, "https")),
        (LOOPBACK, forwarded(proto="javascript"), (PEER, "http")),
        (LOOPBACK, forwarded(), (PEER, "http")),
    ],
)
def test_what_is_believed(
    trusted: tuple[str, ...], headers: Headers, seen: tuple[tuple[str, int], str]
) -> None:
    assert client_and_scheme(PEER, "http", headers, trusted) == seen


@pytest.mark.parametrize("peer", ["::ffff:127.0.0.1", "::1", "fe80::1%eth0"])
def test_peers_in_other_spellings(peer: str) -> None:
    trusted = ("127.0.0.1", "::1", "fe80::/10")
    seen, _ = client_and_scheme((peer, 1, 0, 0), "http", forwarded("192.0.2.7"), trusted)
    assert seen == ("192.0.2.7", 0)


def test_a_unix_socket_has_no_address() -> None:
    assert client_and_scheme("", "http", forwarded("192.0.2.7"), ()) == (None, "http")
    assert client_and_scheme("", "http", forwarded("192.0.2.7"), LOOPBACK) == (None, "http")
    seen, scheme = client_and_scheme("", "http", forwarded("192.0.2.7", proto="https"), ("unix",))
    assert (seen, scheme) == (("192.0.2.7", 0), "https")


def test_a_network_is_a_network() -> None:
    networks, unix = trusted_networks(("10.0.0.0/8", "unix", "::1"))
    assert [str(network) for network in networks] == ["10.0.0.0/8", "::1/128"]
    assert unix
    for wrong in ("10.0.0.0/33", "proxy.example", "10.0.0.1/8", ""):
        with pytest.raises(ConfigError, match="is not a network"):
            trusted_networks((wrong,))


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        # Whoever has one address of IPv6 has the 64 bits below its network (RFC 6177 section 2).
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002:ffff:1:2:3", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("what a proxy says", "what a proxy says"),
    ],
)
def test_one_spelling_for_who_may_have_many(host: str, network: str) -> None:
    assert network_of(host) == network
