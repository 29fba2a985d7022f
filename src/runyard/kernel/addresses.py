"""What an IP address is to a server that connects to it in the name of others. Pure: names are looked up elsewhere."""

import ipaddress
from typing import Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Tell whether an address is one of the open internet."""
    ip = _meant(address)
    return ip.is_global and not ip.is_multicast


def is_link_local(address: str) -> bool:
    """Tell whether an address is one of the own link, where clouds tell a machine its credentials."""
    return _meant(address).is_link_local


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
