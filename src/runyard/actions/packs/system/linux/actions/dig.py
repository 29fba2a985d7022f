"""Looks names up."""

import random
import socket

from st2common.runners.base_action import Action


class Dig(Action):
    """The action linux.dig."""

    def run(self, hostname: str, count: int = 0, rand: bool = False) -> list[str]:
        """Return the addresses of a host, each once."""
        try:
            found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
        except socket.gaierror:
            return []
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if rand:
            random.shuffle(addresses)
        return addresses[:count] if count > 0 else addresses
