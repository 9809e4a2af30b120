"""Who may speak to a process: client certificates, a token, or nobody but this machine.

A process reads its settings from the environment once. EARG_TLS_CERT, EARG_TLS_KEY and EARG_TLS_CA
are PEM files (its own certificate chain, the key, the authority that signs its peers), and
EARG_TOKEN_FILE holds the token. With certificates every connection is TLS and both sides show one;
with a token every caller shows it; with both, both. Without either a process listens on loopback
only. What is set is used on loopback, too.

A peer's certificate must name the IP address it is reached at (as an IP SAN), or, where
EARG_TLS_SERVER_NAME is set, that name: one certificate then serves every process of a graph.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

CERTIFICATE, KEY, AUTHORITY = "EARG_TLS_CERT", "EARG_TLS_KEY", "EARG_TLS_CA"
SERVER_NAME = "EARG_TLS_SERVER_NAME"
TOKEN_FILE = "EARG_TOKEN_FILE"  # noqa: S105  the name of a variable

SETTINGS = (CERTIFICATE, KEY, AUTHORITY, SERVER_NAME, TOKEN_FILE)
"""The variables that a process needs to speak to its peers."""

SHORTEST_TOKEN, LONGEST_TOKEN = 32, 1024
"""Characters of a token."""

MAX_PEM = 1024 * 1024
"""Largest PEM file that is read, in bytes."""


class SecurityError(ValueError):
    """Settings that are wrong or missing, as a sentence that says what to set."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A process's own certificate and key, and the authority that its peers' must come from.

    ``server`` and ``client`` are contexts for its two sides; both show the certificate and demand
    one. ``server_name`` is the name in every peer's certificate; empty: its IP address.
    """

    certificate_file: Path
    key_file: Path
    authority_file: Path
    server_name: str
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    authority: bytes = field(repr=False)
    server: ssl.SSLContext = field(repr=False)
    client: ssl.SSLContext = field(repr=False)

    def name_of(self, ip: str) -> str:
        """The name that the certificate of the peer at ``ip`` must carry."""
        return self.server_name or ip


@dataclass(frozen=True, slots=True)
class Security:
    """What a caller must show; with neither, anybody who reaches the port may call."""

    tls: Tls | None = None
    token: str = field(default="", repr=False)

    @property
    def is_set(self) -> bool:
        """Whether a caller must show anything."""
        return self.tls is not None or bool(self.token)

    @property
    def http_scheme(self) -> str:
        """Of the frontend's URL."""
        return "http" if self.tls is None else "https"

    def admits_token(self, shown: str | bytes) -> bool:
        """Whether ``shown`` is the token; the time it takes tells nothing of it."""
        given = shown.encode(errors="replace") if isinstance(shown, str) else shown
        return hmac.compare_digest(given, self.token.encode())

    def admit_listening(self, ip: str, what: str = "LISTEN_IP") -> None:
        """Raise :class:`SecurityError` where a server on ``ip`` would be open to everybody.

        ``what`` names the variable that the address comes from.
        """
        if not self.is_set and not is_loopback(ip):
            raise SecurityError(
                f"{what} is {ip}, which others can reach: set {CERTIFICATE}, {KEY} and "
                f"{AUTHORITY} (TLS with client certificates) or {TOKEN_FILE} (a token), or listen "
                "on 127.0.0.1"
            )


def is_loopback(ip: str) -> bool:
    """Whether only this machine reaches ``ip``. A host name may change what it means: it is not."""
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False


@functools.cache
def security() -> Security:
    """This process's, read from its environment at the first call; raises
    :class:`SecurityError`."""
    return read_security(os.environ)


def read_security(environment: Mapping[str, str]) -> Security:
    """The settings in ``environment``; raises :class:`SecurityError`."""
    token_file = environment.get(TOKEN_FILE, "")
    token = _read_token(Path(token_file)) if token_file else ""
    return Security(_read_tls(environment), token)


def _read_tls(environment: Mapping[str, str]) -> Tls | None:
    names = (CERTIFICATE, KEY, AUTHORITY)
    found = [environment.get(name, "") for name in names]
    server_name = environment.get(SERVER_NAME, "")
    if not any(found):
        if server_name:
            raise SecurityError(f"{SERVER_NAME} is set without {', '.join(names)}")
        return None
    missing = [name for name, value in zip(names, found, strict=True) if not value]
    if missing:
        raise SecurityError(
            f"{' and '.join(missing)} must be set, too: TLS needs {', '.join(names)}"
        )
    certificate, key, authority = map(Path, found)
    return Tls(
        certificate_file=certificate,
        key_file=key,
        authority_file=authority,
        server_name=server_name,
        certificate=_read_file(certificate, CERTIFICATE, MAX_PEM),
        key=_read_file(key, KEY, MAX_PEM, is_secret=True),
        authority=_read_file(authority, AUTHORITY, MAX_PEM),
        server=_context(ssl.PROTOCOL_TLS_SERVER, certificate, key, authority),
        client=_context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, authority),
    )


def _context(side: int, certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except (ssl.SSLError, OSError, SecurityError) as error:
        raise SecurityError(
            f"{CERTIFICATE} {certificate} and {KEY} {key} are not a certificate chain and its key "
            f"without a password, both in PEM: {error}"
        ) from None
    try:
        context.load_verify_locations(authority)
    except (ssl.SSLError, OSError) as error:
        raise SecurityError(
            f"{AUTHORITY} {authority} holds no certificate in PEM: {error}"
        ) from None
    return context


def _no_password() -> NoReturn:
    # OpenSSL would ask the terminal for it, and wait.
    raise SecurityError("the key has a password")


def _read_token(path: Path) -> str:
    # Decoded byte by byte: what is not ASCII is refused below, and never shown.
    token = _read_file(path, TOKEN_FILE, LONGEST_TOKEN + 2, is_secret=True).decode("latin-1")
    token = token.removesuffix("\n").removesuffix("\r")
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise SecurityError(
            f"{TOKEN_FILE} {path}: the token has {len(token)} characters, but from "
            f"{SHORTEST_TOKEN} to {LONGEST_TOKEN} are wanted; `openssl rand -hex 32` makes one"
        )
    if not all("!" <= letter <= "~" for letter in token):
        raise SecurityError(
            f"{TOKEN_FILE} {path}: a token is one line of visible ASCII characters without spaces"
        )
    return token


def _read_file(path: Path, what: str, most: int, *, is_secret: bool = False) -> bytes:
    """The file's bytes, ``most`` at most. One that holds a secret must be its reader's alone."""
    try:
        # Not blocking: a pipe in its place would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise SecurityError(f"{what} {path} is no file")
        with os.fdopen(descriptor, "rb") as file:
            if is_secret and found.st_mode & 0o077:
                raise SecurityError(
                    f"{what} {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): "
                    f"chmod 600 {path}"
                )
            if is_secret and found.st_uid not in (0, os.geteuid()):
                raise SecurityError(f"{what} {path} belongs to somebody else: chown it")
            data = file.read(most + 1)
    except OSError as error:
        raise SecurityError(f"{what} {path} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise SecurityError(f"{what} {path} is larger than {most} bytes")
    return data
