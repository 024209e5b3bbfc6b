"""Listening sockets, TLS contexts, and what is set on every accepted socket.

Everything that can be wrong with where and how to serve is found here, before
serving begins, and told in one line (``ConfigError``). The listeners belong to
the backend, which closes them first of all when it stops.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import stat
from pathlib import Path

from h3py.errors import ConfigError
from h3py.options import ServeOptions

# One descriptor in ten stays free for files, pipes and the peers of a proxy handler.
CONNECTION_SHARE = 0.9
# Missing from the socket module before Python 3.12 (linux/tcp.h).
TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)


def open_listeners(options: ServeOptions) -> list[socket.socket]:
    """Bind what the options name; non-blocking and listening.

    Raises:
        ConfigError: The address is in use, not ours, or not allowed.
    """
    if options.fd is not None:
        listeners = [_inherited(options.fd)]
    elif options.unix_path is not None:
        listeners = [_unix(Path(options.unix_path), options.backlog)]
    else:
        listeners = _tcp(options)
    for listener in listeners:
        listener.setblocking(False)
    return listeners


def close_listeners(listeners: list[socket.socket]) -> None:
    """Stop listening, and remove the path of a Unix socket that is still ours."""
    for listener in listeners:
        if listener.fileno() < 0:
            continue  # closed before: shutting down twice is no mistake
        path: str = listener.getsockname() if listener.family == socket.AF_UNIX else ""
        listener.close()
        bound = _bound.pop(path, None)
        if bound is not None and _inode(path) == bound:
            os.unlink(path)


# The inode each Unix path had when we bound it: another server may have taken the path since.
_bound: dict[str, int] = {}


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _tcp(options: ServeOptions) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            options.host or None,
            options.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except socket.gaierror as error:
        raise ConfigError(f"cannot serve on host {options.host!r}: {error.strerror}") from error
    listeners: list[socket.socket] = []
    port = options.port
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # With port 0 all families get the port that the first was given.
            listener.bind((address[0], port, *address[2:]))
            port = listener.getsockname()[1]
            listener.listen(options.backlog)
    except OSError as error:
        for listener in listeners:
            listener.close()
        where = f"{options.host}:{options.port}"
        told = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigError(f"cannot serve on {where}: {told}") from error
    return listeners


def _unix(path: Path, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        told = error.strerror
        if error.errno == errno.EADDRINUSE:
            told = "the socket is in use" if path.is_socket() else "there is a file of that name"
        raise ConfigError(f"cannot serve on {path}: {told}") from error
    _bound[str(path)] = os.stat(path).st_ino
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; anything else stays and bind complains."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A server whose backlog is full would make a probe that blocks wait for it.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return  # somebody listens


def _inherited(fd: int) -> socket.socket:
    ours = -1
    try:
        ours = os.dup(fd)
        listener = socket.socket(fileno=ours)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        if ours >= 0:
            os.close(ours)
        raise ConfigError(
            f"descriptor {fd} is not a socket to serve on: {error.strerror}"
        ) from error
    if not listening:
        listener.close()
        raise ConfigError(f"descriptor {fd} is not listening")
    return listener


def tls_context(options: ServeOptions) -> ssl.SSLContext | None:
    """The server's TLS context, or None for plain HTTP.

    Raises:
        ConfigError: The certificate or key cannot be read, or they do not match.
    """
    if options.ssl_context is not None:
        return options.ssl_context
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(options.certificate, options.private_key)
    except FileNotFoundError as error:
        missing = options.certificate
        if os.path.exists(options.certificate) and options.private_key is not None:
            missing = options.private_key
        raise ConfigError(f"cannot read certificate or key {missing}: no such file") from error
    except ssl.SSLError as error:
        raise ConfigError(
            f"cannot use certificate {options.certificate}: {error.reason or error}"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read certificate {options.certificate}: {error.strerror}"
        ) from error
    return context


def prepare_accepted(sock: socket.socket, options: ServeOptions) -> None:
    """Options of an accepted socket: it never blocks, and small events leave at once."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.notsent_lowat_bytes is not None:
        # Without it a client that takes nothing would be given megabytes of kernel memory
        # before any of our limits sees that it is slow.
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, options.notsent_lowat_bytes)


def connection_limit(options: ServeOptions) -> int:
    """Connections in all; raises the soft limit of descriptors to the hard one for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError):
            pass  # macOS: "unlimited" is not taken; the soft limit stands
    if options.max_connections is not None:
        return options.max_connections
    return 1 << 30 if soft == resource.RLIM_INFINITY else int(soft * CONNECTION_SHARE)


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """The URL under which a listener is reached from this machine."""
    scheme = "https" if tls else "http"
    if listener.family == socket.AF_UNIX:
        return f"{scheme}+unix://{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{host}:{port}"
