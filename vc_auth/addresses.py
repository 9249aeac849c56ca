"""Which address a request comes from, and whether a key may be used there."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from vc_auth.records import Network

Address = IPv4Address | IPv6Address


def parse_address(text: str | None) -> Address | None:
    """An address, or None if there is none or it does not parse. IPv4 mapped into IPv6 is IPv4 (RFC 4291, 2.5.5.2)."""
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def parse_network(text: str) -> Network:
    """A network in CIDR form, or one address as a network of its own.

    Raises ValueError for host bits ("10.0.0.1/8"), a bad prefix length and whatever else is not a network.
    """
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write it like '10.0.0.0/8' or '2001:db8::/32'") from None
    if network.version == 6 and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        return ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def is_within(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks; no address is in none."""
    return address is not None and any(address in network for network in networks)


def client_address(peer: str | None, forwarded: Sequence[bytes], trusted: Sequence[Network]) -> str | None:
    """The client behind trusted proxies: the first address from the right that is not a trusted proxy's.

    ``peer`` is who connected; ``forwarded`` are the values of all X-Forwarded-For lines in their order. Whatever a
    stranger wrote stands left of what the first trusted proxy appended, so it is never reached. None if an element on
    the way is no address: a proxy that writes nonsense vouches for nobody.
    """
    if not is_within(parse_address(peer), trusted):
        return peer
    client = peer
    for element in reversed(b",".join(forwarded).decode("latin-1").split(",")) if forwarded else ():
        address = parse_address(element.strip(" \t"))
        if address is None:
            return None
        client = str(address)
        if not is_within(address, trusted):
            break
    return client
