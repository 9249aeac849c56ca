"""What is due, written from the contract alone and for the eye: no regular expression, nothing built before."""

import string
from collections.abc import Sequence
from typing import Final

MISSING: Final = "Missing API key"
MALFORMED: Final = "Invalid authorization format"
INVALID: Final = "Invalid API key"

TOKEN: Final = (string.ascii_letters + string.digits + "-._~+/").encode()
HEX: Final = b"0123456789abcdef"
AMBIGUOUS: Final = ("..", "//", "\\", ";", "\x00", "%", "?", "#")

Headers = Sequence[tuple[bytes, bytes]]


def credentials(headers: Headers, prefixes: Sequence[str]) -> bytes | str:
    """The key that is presented, or the ``error`` of the 401."""
    lines = authorizations(headers)
    if not lines:
        return MISSING
    token = bearer_token(lines[0])
    if len(lines) > 1 or token is None:
        return MALFORMED
    return token if is_key(token, prefixes) else INVALID


def authorizations(headers: Headers) -> list[bytes]:
    """The values of all Authorization lines."""
    return [value for name, value in headers if name.lower() == b"authorization"]


def bearer_token(value: bytes) -> bytes | None:
    """What follows ``Bearer`` and its spaces, if it is a b64token (RFC 6750, 2.1)."""
    if len(value) > 4_096 or value[:6].lower() != b"bearer" or value[6:7] != b" ":
        return None
    token = value[6:].lstrip(b" ")
    characters = token.rstrip(b"=")
    return token if characters and all(character in TOKEN for character in characters) else None


def is_key(token: bytes, prefixes: Sequence[str]) -> bool:
    """Whether it is one of the prefixes, and 32 lower-case hexadecimal characters."""
    digits = token[-32:]
    if token[:-32].decode("latin-1") not in prefixes or len(digits) != 32:
        return False
    return all(digit in HEX for digit in digits)


def route_path(path: str, root_path: str) -> str:
    """The path less ``root_path``, if it lies there."""
    if path == root_path:
        return "" if root_path else path
    return path[len(root_path) :] if path[: len(root_path) + 1] == root_path + "/" else path


def is_public(path: str, entries: Sequence[str]) -> bool:
    """Whether one of the entries means this path."""
    for entry in entries:
        if entry[-2:] == "/*":
            if is_below(path, entry[:-2]) and not is_ambiguous(path):
                return True
        elif path == entry:
            return True
    return False


def is_below(path: str, tree: str) -> bool:
    """Whether the path's first segments are those of the tree."""
    segments = tree.split("/")
    return path.split("/")[: len(segments)] == segments


def is_ambiguous(path: str) -> bool:
    """Whether a router, a proxy or a file system might read it as another path."""
    return any(mark in path for mark in AMBIGUOUS)
