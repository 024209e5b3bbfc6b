"""Certificates for TLS, made once; and servers that look at their clock more often."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from h3py.backends import thread_backend, trio_backend


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked for four times a second is found sooner: these tests wait for much of it."""
    monkeypatch.setattr(trio_backend, "SWEEP_S", 0.02)
    monkeypatch.setattr(thread_backend, "SWEEP_S", 0.02)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with key and chain for localhost and 127.0.0.1."""
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """The client's side."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
