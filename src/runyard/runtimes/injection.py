"""Puts secrets into runtimes. Owns templates, the short-lived cache of opened values, and what must be masked.

Values are opened when they are needed and leave only as environment, as file content and as masks.
"""

import os
from collections.abc import Mapping, Sequence

from runyard.database.engine import Database
from runyard.kernel.clock import monotonic
from runyard.kernel.crypto import Vault
from runyard.kernel.ids import AccountId
from runyard.runtimes.definition import PLACEHOLDER
from runyard.runtimes.isolation.engine import OpenMode, Sandbox
from runyard.runtimes.model import Runtime
from runyard.runtimes.resident import Resident
from runyard.runtimes.store import SecretStore

BASE_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}
"""What every command finds in its environment; the runtime's and the caller's variables go over it."""


def secret_context(secret_id: str) -> bytes:
    """Return what a sealed value is bound to, so that it cannot be moved to another row."""
    return f"secret:{secret_id}".encode()


class Injector:
    """Opens the secrets of a runtime and puts them where its definition says."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._store = SecretStore()
        self._cache: dict[str, tuple[float, bytes]] = {}

    def forget(self, secret_id: str) -> None:
        """Drop a cached value after it was changed or deleted."""
        self._cache.pop(secret_id, None)

    async def _value(self, account_id: AccountId, secret_id: str) -> bytes | None:
        """Open a secret; None when it was deleted. It is kept in memory for its cache time only."""
        cached = self._cache.get(secret_id)
        if cached is not None and cached[0] > monotonic():
            return cached[1]
        async with self._database.read() as tx:
            found = await self._store.sealed(tx, account_id, secret_id)
        if found is None:
            return None
        sealed, ttl = found
        value = self._vault.open(sealed, secret_context(secret_id))
        if ttl > 0:
            self._cache[secret_id] = (monotonic() + ttl, value)
        return value

    async def environment(self, resident: Resident) -> tuple[Mapping[str, str], Sequence[bytes]]:
        """Return the environment of a runtime's commands, and the values to mask in all that is kept."""
        definition = resident.runtime.definition
        kept = resident.environment
        if kept is not None and kept[0] is definition:
            return kept[1], resident.masks
        variables = {**BASE_ENVIRONMENT, **definition.environment}
        if not definition.secrets:
            resident.environment = (definition, variables)
            return variables, resident.masks
        masks = list(resident.masks)
        for use in definition.secrets:
            value = await self._value(resident.runtime.account_id, use.secret_id) if use.environment else None
            if value is None:
                continue
            masks.append(value)
            text = value.decode("utf-8", "replace").replace("\0", "")
            for variable in use.environment:
                variables[variable.name] = variable.value_template.replace(PLACEHOLDER, text)
        return variables, masks

    async def write_files(self, sandbox: Sandbox, runtime: Runtime) -> tuple[bytes, ...]:
        """Write the secret files, mode 0600, below the home folder; return the values to mask."""
        masks: list[bytes] = []
        for use in runtime.definition.secrets:
            value = await self._value(runtime.account_id, use.secret_id) if use.files else None
            if value is None:
                continue
            masks.append(value)
            for file in use.files:
                before, after = file.value_template.encode().split(PLACEHOLDER.encode())
                await _write_file(sandbox, f"/root/{file.path}", before + value + after)
        return tuple(masks)


async def _write_file(sandbox: Sandbox, path: str, content: bytes) -> None:
    opened = await sandbox.open_file(path, OpenMode.CREATE)
    try:
        os.fchmod(opened.fd, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(opened.fd, view) :]
    except BaseException:
        if opened.publication is not None:
            await opened.publication.discard()
        raise
    finally:
        os.close(opened.fd)
    if opened.publication is not None:
        await opened.publication.publish()
