"""`just certs`: a certificate authority for development, and one certificate for all of ours."""

import datetime as dt
import os
import shlex
import socket
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from svc.platform.installation import default_run_dir

VALID_DAYS = 365
NAMES = ("localhost", "127.0.0.1", "::1")


def certs(directory: Path | None = None) -> int:
    """Make what is missing, and print the settings that use it, for `eval` in a shell."""
    for name, path in ensure(directory or default_run_dir() / "tls").items():
        print(f"export {name}={shlex.quote(str(path))}")
    return 0


def ensure(directory: Path) -> dict[str, Path]:
    """Make authority and certificate unless they are there and valid; return paths by setting."""
    paths = {
        "TLS_CA": directory / "ca.pem",
        "TLS_CERT": directory / "betmesh.pem",
        "TLS_KEY": directory / "betmesh.key",
    }
    if all(path.exists() for path in paths.values()) and not _ends_soon(paths["TLS_CERT"]):
        return paths
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    authority_key, authority = _authority()
    key, certificate = _leaf(authority_key, authority)
    # The authority's key is not kept: whoever wants another certificate makes all of them anew.
    paths["TLS_CA"].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths["TLS_CERT"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    descriptor = os.open(paths["TLS_KEY"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return paths


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "betmesh development authority")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _begun(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


def _leaf(
    authority_key: ec.EllipticCurvePrivateKey, authority: x509.Certificate
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "betmesh")])
    # Both ends show it: servers to clients, and services to a broker that asks who they are.
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _begun(name, authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    return key, builder.sign(authority_key, hashes.SHA256())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
    )


def _names() -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys((*NAMES, socket.gethostname())):
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _ends_soon(path: Path) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc < dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
