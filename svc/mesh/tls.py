"""Encryption by settings: paths of certificates, for one connection or for all.

`TLS_CA`, `TLS_CERT` and `TLS_KEY` hold for everything; `NATS_TLS_CA` and so on, `HTTP_TLS_…` and
`GRPC_TLS_…` for one of them. Postgres takes its own in the URL (`sslmode`, `sslrootcert`). Without
any, nothing is encrypted: that is for loopback.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

from svc.mesh.settings import MissingSetting

KINDS = ("CA", "CERT", "KEY")


def path_of(settings: Mapping[str, str], what: str, kind: str) -> str:
    """Return a path for NATS, HTTP or GRPC: its own setting, else the one for all, else ""."""
    return settings.get(f"{what}_TLS_{kind}", "") or settings.get(f"TLS_{kind}", "")


def nats_context(settings: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return how to connect to NATS, with a client certificate where one is given; None: plainly.

    Raises MissingSetting for a file that cannot be used.
    """
    authority = path_of(settings, "NATS", "CA")
    if not authority:
        return None
    context = _trusting(authority)
    pair = _pair(settings, "NATS")
    if pair is not None:
        _load(context, *pair)
    return context


def http_pair(settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the certificate and key that our HTTP shows, or None; raises as `nats_context`."""
    pair = _pair(settings, "HTTP")
    if pair is not None:
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *pair)
    return pair


def http_context(settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return how to ask other services over HTTP; raises as `nats_context`.

    Without an authority it trusts nobody and loads nothing: plain HTTP needs neither.
    """
    authority = path_of(settings, "HTTP", "CA")
    return _trusting(authority) if authority else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _pair(settings: Mapping[str, str], what: str) -> tuple[str, str] | None:
    certificate, key = path_of(settings, what, "CERT"), path_of(settings, what, "KEY")
    if bool(certificate) != bool(key):
        raise MissingSetting(f"{what}_TLS_CERT and {what}_TLS_KEY go together; one is missing")
    return (certificate, key) if certificate else None


def _trusting(authority: str) -> ssl.SSLContext:
    _readable(authority)
    try:
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError as failure:
        raise MissingSetting(f"{authority} holds no certificate authority: {failure}") from failure


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    _readable(certificate)
    _readable(key)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as failure:
        raise MissingSetting(
            f"{certificate} and {key} are no certificate and its key: {failure}"
        ) from failure


def _readable(path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as failure:
        raise MissingSetting(f"a certificate cannot be read: {failure}") from failure
