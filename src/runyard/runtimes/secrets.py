"""Verbs of stored secrets. Values come in, are sealed, and never leave by this door."""

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.identity.model import Principal, Scope
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.events import Event
from runyard.kernel.ids import SecretId
from runyard.runtimes.definition import SecretUse, check_name
from runyard.runtimes.errors import ReservedName, SecretExists, SecretNotFound
from runyard.runtimes.injection import Injector, secret_context
from runyard.runtimes.model import Secret
from runyard.runtimes.references import only
from runyard.runtimes.store import SecretStore

RESERVED_PREFIX = "runta-"
MAX_TTL_SECONDS = 3600
MAX_VALUE_BYTES = 65_536


class SecretService:
    """Creates, replaces, lists and deletes secrets."""

    def __init__(self, database: Database, vault: Vault, injector: Injector) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._injector = injector
        self._store = SecretStore()

    async def create(self, principal: Principal, name: str, value: str, ttl: int) -> Secret:
        """Store a new secret. Raises SecretExists, ReservedName, InvalidArgument."""
        raw = _check(name, value, ttl)
        now = utc_now()
        scope = principal.scope
        secret = Secret(
            id=SecretId.new(),
            account_id=scope.account_id,
            project_id=scope.project_id,
            project_path=scope.project_path,
            display_name=name,
            cache_ttl_secs=ttl,
            created_at=now,
            updated_at=now,
        )
        sealed = self._vault.seal(raw, secret_context(secret.id))
        try:
            async with self._database.transaction() as tx:
                await self._store.insert(tx, secret, sealed)
                await tx.record(_event(secret, "created", principal))
        except UniqueViolation:
            raise SecretExists(f"there is a secret named '{name}' already") from None
        return secret

    async def put(self, principal: Principal, reference: str, value: str, ttl: int) -> Secret:
        """Replace a secret by id or name, or create it under that name. Raises ReservedName, InvalidArgument."""
        try:
            known = await self.get(principal.scope, reference)
        except SecretNotFound:
            try:
                return await self.create(principal, reference, value, ttl)
            except SecretExists:  # another caller created it in between: then this one replaces it
                known = await self.get(principal.scope, reference)
        raw = _check(known.display_name, value, ttl)
        changed = Secret(
            id=known.id,
            account_id=known.account_id,
            project_id=known.project_id,
            project_path=known.project_path,
            display_name=known.display_name,
            cache_ttl_secs=ttl,
            created_at=known.created_at,
            updated_at=utc_now(),
        )
        async with self._database.transaction() as tx:
            await self._store.replace(tx, changed, self._vault.seal(raw, secret_context(known.id)))
            await tx.record(_event(changed, "replaced", principal))
        self._injector.forget(known.id)
        return changed

    async def get(self, scope: Scope, reference: str) -> Secret:
        """Find a secret by id, then by name. Raises SecretNotFound, AmbiguousName."""
        async with self._database.read() as tx:
            try:
                found = await self._store.get(tx, scope, SecretId.parse(reference))
            except ValueError:
                found = None
            named = [] if found else await self._store.named(tx, scope, reference)
        found = found or only(named, reference, "secrets")
        if found is None:
            raise SecretNotFound(reference)
        return found

    async def listing(self, scope: Scope) -> list[Secret]:
        """List all secrets of the scope by name."""
        async with self._database.read() as tx:
            return await self._store.listing(tx, scope)

    async def delete(self, principal: Principal, reference: str) -> None:
        """Delete a secret; runtimes that use it go on without it. Raises SecretNotFound."""
        secret = await self.get(principal.scope, reference)
        async with self._database.transaction() as tx:
            await self._store.delete(tx, secret.id)
            await tx.record(_event(secret, "deleted", principal))
        self._injector.forget(secret.id)

    async def seal_again(self) -> int:
        """Seal every value with the current key after a rotation and return how many needed it. Interrupted, it may be
        called again; only then are old keys of no more use.
        """
        async with self._database.read() as tx:
            old = [pair for pair in await self._store.all_sealed(tx) if self._vault.needs_reseal(pair[1])]
        for secret_id, sealed in old:
            fresh = self._vault.reseal(sealed, secret_context(secret_id))
            async with self._database.transaction() as tx:
                await self._store.seal_again(tx, secret_id, sealed, fresh)
        return len(old)

    async def resolve(self, scope: Scope, uses: tuple[SecretUse, ...]) -> tuple[SecretUse, ...]:
        """Check that every used secret exists and name it by id. Raises InvalidArgument."""
        resolved = []
        for use in uses:
            try:
                secret = await self.get(scope, use.secret_id)
            except SecretNotFound as error:
                raise InvalidArgument(f"secret_configuration: {error.message}") from None
            resolved.append(SecretUse(secret_id=str(secret.id), environment=use.environment, files=use.files))
        return tuple(resolved)


def _check(name: str, value: str, ttl: int) -> bytes:
    check_name(name)
    if name.startswith(RESERVED_PREFIX):
        raise ReservedName
    if "/" in name:
        raise InvalidArgument("name must not contain a slash")
    if not 0 <= ttl <= MAX_TTL_SECONDS:
        raise InvalidArgument(f"cache_ttl_secs must be 0 to {MAX_TTL_SECONDS}")
    raw = value.encode("utf-8", "surrogatepass")
    if not raw or len(raw) > MAX_VALUE_BYTES:
        raise InvalidArgument(f"value must be 1 to {MAX_VALUE_BYTES} bytes")
    return raw


def _event(secret: Secret, what: str, principal: Principal) -> Event:
    return Event(
        account_id=secret.account_id,
        subject_kind="secret",
        subject_id=secret.id,
        type=f"secret.{what}",
        actor=principal.actor,
        at=secret.updated_at,
        body={"name": secret.display_name},
    )
