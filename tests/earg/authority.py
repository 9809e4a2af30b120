"""A certificate authority of the tests' own, and the settings that come of it."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "node.earg.test"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs certificates into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(
            "test authority",
            self._key.public_key(),
            x509.BasicConstraints(ca=True, path_length=None),
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: str, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("test authority"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, label: str, *ips: str, name: str = "") -> dict[str, str]:
        """The settings of a process whose certificate carries ``ips`` and ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        if name:
            names.append(x509.DNSName(name))
        certificate = self._sign(label, key.public_key(), x509.SubjectAlternativeName(names))
        certificate_file = self.folder / f"{label}.pem"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file = self.folder / f"{label}.key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        settings = {
            "EARG_TLS_CERT": str(certificate_file),
            "EARG_TLS_KEY": str(key_file),
            "EARG_TLS_CA": str(self.file),
        }
        return settings | ({"EARG_TLS_SERVER_NAME": name} if name else {})


def token_file(folder: Path, token: str) -> dict[str, str]:
    """The setting of a token."""
    path = folder / f"token-{token[:8]}"
    path.touch(mode=0o600)
    path.write_text(token + "\n", encoding="ascii")
    return {"EARG_TOKEN_FILE": str(path)}
