"""What an operator may ask for: names, scopes, networks, times. Each raises InvalidInput with a sentence."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from vc_auth.addresses import parse_network
from vc_auth.errors import InvalidInput
from vc_auth.records import Network, Scopes

LONGEST_NAME: Final = 100


def check_name(what: str, name: object) -> None:
    """A name is 1 to 100 printable characters, without quotes and backslashes, and without spaces at its ends."""
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(f"a {what} is a text of 1 to {LONGEST_NAME} characters")
    if not name.isprintable() or name != name.strip() or any(quote in name for quote in "\"'`\\"):
        raise InvalidInput(
            f"{what} {name!r} has a control character, a quote, a backslash, or a space at an end; use other characters"
        )


def check_digest(digest: str) -> None:
    """A digest is 64 lower-case hexadecimal characters."""
    if not (len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
        raise InvalidInput("the digest is not 64 lower-case hexadecimal characters; make it with vc_auth.keys.digest")


def check_scopes(scopes: Iterable[str], known: Scopes) -> Scopes:
    """The scopes, each of which is a known one."""
    if isinstance(scopes, str):
        raise InvalidInput(f"scopes={scopes!r} is one string; give a list of scopes, such as [{scopes!r}]")
    granted = Scopes(scopes)
    # Not `in`: a wildcard that is known does not make every scope below it known.
    if unknown := sorted(frozenset(granted) - frozenset(known)):
        raise InvalidInput(f"unknown scope {unknown[0]!r}; the settings know {', '.join(sorted(known))}")
    return granted


def check_networks(networks: Iterable[str | Network]) -> tuple[Network, ...]:
    """The networks, of which there is at least one."""
    if isinstance(networks, str):
        raise InvalidInput(f"allowed_networks={networks!r} is one string; give a list, such as [{networks!r}]")
    try:
        checked = tuple(parse_network(str(network)) for network in networks)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    if not checked:
        raise InvalidInput("allowed_networks is empty, so the key could be used nowhere; give None for anywhere")
    return checked


def later(what: str, now: datetime, span: timedelta | None) -> datetime | None:
    """``now`` and ``span`` later; None is never."""
    try:
        return None if span is None else now + span
    except OverflowError:
        raise InvalidInput(f"{what} of {span} ends after the year 9999; give a shorter one") from None
