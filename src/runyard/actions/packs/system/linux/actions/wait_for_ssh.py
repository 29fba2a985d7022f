"""Waits until a host answers as an SSH server."""

import socket
import time

from st2common.runners.base_action import Action


class WaitForSsh(Action):
    """The action linux.wait_for_ssh."""

    def run(self, hostname: str, port: int = 22, ssh_timeout: int = 30, retries: int = 10) -> bool:
        """Try to read the greeting of the server, again and again. Raises TimeoutError at the end."""
        for attempt in range(retries):
            try:
                with socket.create_connection((hostname, port), timeout=ssh_timeout) as connection:
                    if connection.recv(4) == b"SSH-":
                        return True
                self.logger.info("%s answers, but not as an SSH server", hostname)
            except OSError as error:
                self.logger.info("try %d of %d: %s", attempt + 1, retries, error)
            if attempt + 1 < retries:
                time.sleep(ssh_timeout)
        raise TimeoutError(f"{hostname} did not answer as an SSH server in {retries} tries")
