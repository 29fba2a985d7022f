"""Writes and opens values. Owns the sealing of secrets and how a write meets what is there; no rights, no commits."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from runyard.database.engine import Transaction
from runyard.infrastructure.variables import store
from runyard.infrastructure.variables.errors import InvalidVariable
from runyard.infrastructure.variables.model import (
    MOST,
    Key,
    NewVariable,
    Owner,
    OwnerKind,
    Plain,
    Sensitivity,
    Sets,
    Values,
    VariableId,
    check,
)
from runyard.kernel.crypto import Vault
from runyard.kernel.ids import AccountId


class ValueKeeper:
    """Seals what is secret on its way in and opens it for a run only."""

    def __init__(self, vault: Vault) -> None:
        """Take the keys."""
        self._vault = vault

    async def upsert(
        self,
        tx: Transaction,
        account_id: AccountId,
        owner: Owner,
        wanted: Sequence[NewVariable],
        now: datetime,
        *,
        replace: bool = False,
    ) -> None:
        """Write variables by key and destination, and with `replace` remove all others of the owner.
        Raises InvalidVariable, UniqueViolation when somebody else wrote the same one first.
        """
        known = {(row.key, row.destination): row for row in await store.stored(tx, owner.kind, [owner.id])}
        if len({(one.key, one.destination) for one in wanted} | (set() if replace else known.keys())) > MOST:
            raise InvalidVariable(f"There are at most {MOST} variables at one place")
        for variable in wanted:
            check(variable)
            before = known.get((variable.key, variable.destination))
            row = self._row(variable, before)
            if before is None:
                await store.add_variable(tx, account_id, owner, row, now)
            elif row != before:
                await store.set_variable(tx, row, now)
            known[variable.key, variable.destination] = row
        if replace:
            kept = {(one.key, one.destination) for one in wanted}
            gone = [row.id for key, row in known.items() if key not in kept]
            if gone:
                await store.delete_variables(tx, owner, gone)

    def _row(self, variable: NewVariable, before: store.Stored | None) -> store.Stored:
        row_id = str(VariableId.new()) if before is None else before.id
        owner_id = "" if before is None else before.owner_id
        secret = variable.sensitivity is Sensitivity.SECRET
        if not variable.value and before is not None and before.sealed is not None:
            # A client that reads a secret back gets no value, and sends none when it writes what it has read.
            if not secret:
                raise InvalidVariable(f"Value is required: {variable.key} was a secret and cannot be shown")
            return before
        if variable.value is None:
            raise InvalidVariable("Value is required")
        text, sealed = variable.value, None
        if secret:
            sealed = self._vault.seal(text.encode(), _context(row_id))
            if before is not None and before.sealed is not None and self.open(before).value == text:
                return before
        return store.Stored(
            row_id, owner_id, variable.key, variable.destination, None if secret else text, sealed
        )

    def open(self, row: store.Stored) -> Plain:
        """Return the value of a row."""
        if row.sealed is None:
            return Plain(row.value or "", False)
        return Plain(self._vault.open(row.sealed, _context(row.id)).decode(), True)

    async def values(
        self, tx: Transaction, kind: OwnerKind, owner_ids: Collection[str]
    ) -> Mapping[str, Values]:
        """Return what each of some owners gives."""
        found: dict[str, dict[Key, Plain]] = {}
        for row in await store.stored(tx, kind, owner_ids):
            found.setdefault(row.owner_id, {})[row.key, row.destination] = self.open(row)
        return found

    async def sets(self, tx: Transaction, account_id: AccountId, set_ids: Collection[str]) -> Sets:
        """Return sets with everything above them."""
        if not set_ids:
            return Sets({}, {})
        parents = await store.graph(tx, account_id)
        needed = Sets(parents, {}).closure(set_ids)
        return Sets(parents, await self.values(tx, OwnerKind.SET, needed))

    async def check_places(self, tx: Transaction, account_id: AccountId, set_id: str) -> None:
        """Refuse what a set, or one below it, would make ambiguous anywhere. Raises VariableConflict."""
        affected = [set_id, *Sets(await store.graph(tx, account_id), {}).below(set_id)]
        places = await store.places_of(tx, affected)
        if places:
            sets = await self.sets(tx, account_id, {one for place in places for one in place})
            for place in places:
                sets.level(place)

    async def seal_again(self, tx: Transaction) -> int:
        """Seal what an older key sealed with the current one; return how much that was."""
        old = [pair for pair in await store.sealed_rows(tx) if self._vault.needs_reseal(pair[1])]
        for variable_id, sealed in old:
            fresh = self._vault.reseal(sealed, _context(variable_id))
            await store.seal_again(tx, variable_id, sealed, fresh)
        return len(old)


def _context(variable_id: str) -> bytes:
    return f"variable:{variable_id}".encode()
