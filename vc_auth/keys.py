"""API keys: how they are made, how they are shown, and how they are read from a request.

A key is stored as the SHA-256 of the whole of it. That is enough because a key is 128 random bits: nobody can try them
out, salted or not, and a slow hash (bcrypt, argon2) would only block the event loop on every guess that a stranger
cares to send. Slow hashes are for passwords, which people choose.
"""

import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from vc_auth.errors import InvalidKey, MalformedHeader, MissingKey, Unauthorized

Headers = Sequence[tuple[bytes, bytes]]
"""Request headers as ASGI gives them: names in any case, values as they came."""

DEFAULT_PREFIX: Final = "vc_"
LONGEST_VALUE: Final = 4_096  # bytes of an Authorization value; looked at before anything else is

# RFC 6750, 2.1: "Bearer" 1*SP b64token; the scheme's case is free (RFC 9110, 11.1).
_BEARER: Final = rb"[Bb][Ee][Aa][Rr][Ee][Rr] +"
_credentials = re.compile(_BEARER + rb"[A-Za-z0-9\-._~+/]+=*").fullmatch


def digest(key: str) -> str:
    """What is stored of a key: SHA-256 of the whole key, 64 lower-case hexadecimal characters."""
    return sha256(key.encode()).hexdigest()


def is_prefix(prefix: str) -> bool:
    """Whether a key that begins so is one token68 (RFC 9110, 11.2)."""
    return re.fullmatch(r"[A-Za-z0-9._~+/-]{1,32}", prefix) is not None


class Secret:
    """A plain key that only `reveal` tells; ``repr``, ``str``, ``copy`` and ``pickle`` carry its display form alone."""

    __slots__ = ("_key", "display")

    def __init__(self, key: str | None, display: str) -> None:
        self._key = key
        self.display = display

    def reveal(self) -> str:
        """The plain key. Raises ValueError on a copy that was masked on its way, such as an unpickled one."""
        if self._key is None:
            raise ValueError(f"{self.display} was masked when it was copied; a key is shown once, where it is created")
        return self._key

    @property
    def digest(self) -> str:
        """The digest of the plain key."""
        return digest(self.reveal())

    def __repr__(self) -> str:
        return f"Secret({self.display!r})"

    def __str__(self) -> str:
        return self.display

    def __reduce__(self) -> tuple[type["Secret"], tuple[None, str]]:
        return Secret, (None, self.display)


class KeyFormat:
    """Keys of the form prefix + 32 lower-case hexadecimal characters: the first prefix issues, all are accepted."""

    def __init__(self, prefixes: Sequence[str] = (DEFAULT_PREFIX,)) -> None:
        self._issued_prefix = prefixes[0]
        alternatives = b"|".join(re.escape(prefix).encode() for prefix in prefixes)
        self._key = re.compile(_BEARER + rb"((?:" + alternatives + rb")[0-9a-f]{32})").fullmatch
        self._lengths = frozenset(len("Bearer ") + len(prefix) + 32 for prefix in prefixes)

    def generate(self) -> Secret:
        """A new key of 128 bits from the system's random source (a UUID has six fewer, and says so)."""
        random = secrets.token_hex(16)
        return Secret(self._issued_prefix + random, f"{self._issued_prefix}{random[:4]}...")

    def glance(self, headers: Headers) -> str:
        """The digest of what these headers present, unjudged; empty if it could not be a key or needs a closer look.

        Good for one question alone: is it remembered? Only the whole key, byte for byte, has the digest of a key that
        is, so what is remembered needs no grammar. All else goes to `parse_authorization`.
        """
        value = _authorization(headers)
        if value is None or len(value) not in self._lengths or value[:7] != b"Bearer ":
            return ""
        return sha256(value[7:]).hexdigest()

    def parse_authorization(self, headers: Headers) -> str | Unauthorized:
        """The digest of the one key that these headers present, or what is to be said of them.

        Nothing is trimmed, decoded or guessed. The denial is MissingKey, MalformedHeader, or InvalidKey for a token
        that cannot be a key of ours; it is returned, since raised it would carry a frame that holds the plain key.
        """
        value = _authorization(headers)
        if value is None:
            return MissingKey()
        if len(value) > LONGEST_VALUE:
            return MalformedHeader()
        if (match := self._key(value)) is not None:
            return sha256(match[1]).hexdigest()
        return InvalidKey() if _credentials(value) else MalformedHeader()


def _authorization(headers: Headers) -> bytes | None:
    """The value of the Authorization line; None without one, empty for several: who knows which is meant."""
    found = None
    for name, value in headers:
        if len(name) == 13 and name.lower() == b"authorization":
            if found is not None:
                return b""
            found = value
    return found
