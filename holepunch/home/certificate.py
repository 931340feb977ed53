"""A TLS certificate for commands that want one, such as OpenVPN with --peer-fingerprint.

Self-signed and made once: trust comes from its fingerprint, which travels in the sealed offer, so its
names and dates say nothing.  Ed25519 would follow from the identity, but TLS stacks that a command may
bring along understand P-256 everywhere.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import ConfigurationError
from . import files

# Clocks of small machines start anywhere; RFC 5280 section 4.1.2.5 has a date for "does not expire".
_NOT_BEFORE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where the certificate is, and what it is recognised by."""

    cert_path: Path
    """PEM; public."""
    key_path: Path
    """PEM, PKCS #8, mode 0600."""
    fingerprint: bytes
    """SHA-256 of the certificate in DER, 32 bytes."""


def load_or_make(folder: Path, lock: Path) -> Certificate:
    """Returns the certificate of a home, and makes it the first time.

    Args:
        folder: the home.
        lock: the file that writers lock.

    Raises:
        ConfigurationError: its files cannot be read or written, others can read its key, or the two files
            do not belong together.
    """
    cert_path, key_path = folder / "tls.crt", folder / "tls.key"
    if not cert_path.exists():
        files.make_folder(folder)
        with files.locked(lock):
            if not cert_path.exists():
                key, certificate = _make()
                # The key first: who sees a certificate finds its key.
                files.write_file(key_path, key)
                files.write_file(cert_path, certificate)
    return _load(cert_path, key_path)


def _make() -> tuple[bytes, bytes]:
    """Returns a new key and its certificate, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    # No name of the machine: TLS before 1.3 sends certificates in the clear.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "holepunch")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        # Either side may be the TLS server (`remote-cert-tls` of OpenVPN looks at this).
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


def _load(cert_path: Path, key_path: Path) -> Certificate:
    hint = f"Remove both {cert_path.name} and {key_path.name}: a new pair is made."
    try:
        certificate = x509.load_pem_x509_certificate(files.read_file(cert_path, files.WRITTEN_BY_OTHERS) or b"")
        loaded = serialization.load_pem_private_key(files.read_file(key_path, files.READ_BY_OTHERS) or b"", None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"the certificate {cert_path} or its key cannot be read: {error}", hint=hint
        ) from error
    if loaded.public_key() != certificate.public_key():
        raise ConfigurationError(f"the key {key_path} does not belong to {cert_path}", hint=hint)
    return Certificate(cert_path, key_path, certificate.fingerprint(hashes.SHA256()))
