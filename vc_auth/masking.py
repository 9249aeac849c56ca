"""Passwords of URLs, kept out of what is said."""

import re
from urllib.parse import unquote


def masked(text: str, url: str | None) -> str:
    """The text without the password of this URL, in whatever form it stands there: as given, decoded or escaped.

    The URL itself as it may be shown is ``masked(url, url)``. The password ends at the last ``@``, for somebody may
    have forgotten to encode one in it. What follows ``password=`` is masked as well, whoever's it is.
    """
    url = url or ""
    # Without its slashes it is no URL, and yet somebody wrote a password there.
    before = "//[^/:]*" if "//" in url else r"^(?:[\w+.-]+:/?)?[^/:@]*"
    password = re.search(f"{before}:(.*)@", url, re.DOTALL)
    for form in _forms(password[1]) if password else ():
        text = text.replace(f":{form}@", ":***@")
    return re.sub(r"(password=)[^&\s'\"]+", r"\1***", text)


def _forms(password: str) -> set[str]:
    return {password, unquote(password), repr(password)[1:-1]}
