"""What an IP address is to a server that connects to it in the name of others. Pure: names are looked up elsewhere."""

import ipaddress
from typing import Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Tell whether an address is one of the open internet."""
    ip = _meant(address)
    return ip.is_global and not ip.is_multicast


def gives_credentials(address: str) -> bool:
    """Tell whether an address is one at which a cloud gives a machine its credentials: of the own link, or one of few."""
    ip = _meant(address)
    return ip.is_link_local or ip in _METADATA


def _meant(address: str) -> _Address:
    """Return the address that is reached by one, which may have another one in it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return inner
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip
