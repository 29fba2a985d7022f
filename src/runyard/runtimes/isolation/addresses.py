"""How the addresses of sandboxes are shared out: the lower half for links to the outside, the upper one for private
networks. Pure.
"""

from ipaddress import IPv4Network

PRIVATE_PREFIX = 27
"""Length of one private network: 30 addresses, the server's own among them."""

MAX_BRIDGES = 1024
"""Private networks at once; the packet filter knows each of them by name."""


def private_half(network: IPv4Network) -> IPv4Network | None:
    """Return the part that is for private networks; None when there are too few addresses."""
    return None if network.prefixlen > PRIVATE_PREFIX - 3 else list(network.subnets(1))[1]


def outward_half(network: IPv4Network) -> IPv4Network:
    """Return the part that is for links to the outside."""
    return network if private_half(network) is None else next(network.subnets(1))


def bridge_count(network: IPv4Network) -> int:
    """Return how many private networks there may be at once."""
    half = private_half(network)
    return 0 if half is None else min(MAX_BRIDGES, 1 << (PRIVATE_PREFIX - half.prefixlen))


def bridge_name(prefix: str, number: int) -> str:
    """Return the name of a private network's bridge."""
    return f"{prefix}n{number:x}"
