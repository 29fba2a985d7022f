"""Parameters of runs, with configuration and datastore. Owns the rounds of rendering; knows no execution."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from runyard.actions.catalogue import Catalogue
from runyard.actions.datastore import DatastoreService
from runyard.actions.errors import ParameterUnresolved
from runyard.actions.packs.config import resolve_config
from runyard.actions.parameters.render import Sources, prepare, render_value
from runyard.actions.parameters.split import Dispatched, dispatch
from runyard.actions.parameters.texts import holds_template
from runyard.actions.parameters.validate import Parameters
from runyard.actions.templating.datastore import Datastore, Keys, KnownKeys, StoredKey
from runyard.actions.templating.filters.data import DATASTORE
from runyard.actions.values import Json, JsonObject
from runyard.kernel.errors import NotFound, RunyardError
from runyard.kernel.ids import AccountId

_ROUNDS: Final = 8
"""Names of keys can be made by templates from other keys; nobody needs more rounds than this."""
Made = TypeVar("Made")


class Resolver:
    """Renders what templates say, fetching the keys that they name."""

    def __init__(self, catalogue: Catalogue, datastore: DatastoreService) -> None:
        """Take the parts."""
        self._catalogue = catalogue
        self._datastore = datastore

    async def prepared(
        self, account: AccountId, parameters: Parameters, given: JsonObject, context: JsonObject
    ) -> dict[str, Json]:
        """Return the parameters that an execution is stored with. Raises as `prepare`."""

        def work(keys: Datastore, config: JsonObject) -> dict[str, Json]:
            return prepare(
                parameters, given, Sources(action_context=context, config_context=config, datastore=keys)
            )

        templates = holds_template(dict(given)) or bool(parameters.templated)
        return await self._rounds(account, parameters.action.pack, context, work, threaded=templates)

    async def dispatched(
        self, account: AccountId, parameters: Parameters, live: JsonObject, context: JsonObject
    ) -> tuple[Dispatched, JsonObject]:
        """Return the parameters of a run and the pack's configuration. Raises as `dispatch`."""

        def work(keys: Datastore, config: JsonObject) -> tuple[Dispatched, JsonObject]:
            sources = Sources(action_context=context, config_context=config, datastore=keys)
            return dispatch(parameters, live, sources), config

        templates = bool(parameters.templated)
        return await self._rounds(account, parameters.action.pack, context, work, threaded=templates)

    async def rendered(
        self, account: AccountId, context: JsonObject, given: JsonObject, roots: JsonObject
    ) -> dict[str, Json]:
        """Render values by name over some roots and the datastore. Raises ParameterUnresolved."""

        def work(keys: Datastore, config: JsonObject) -> dict[str, Json]:
            del config
            variables = {**roots, "st2kv": Keys(keys), DATASTORE: keys}
            return {
                name: render_value(name, value, variables) if holds_template(value) else value
                for name, value in given.items()
            }

        return await self._rounds(account, "", context, work, threaded=holds_template(dict(given)))

    async def _rounds(
        self,
        account: AccountId,
        pack: str,
        context: JsonObject,
        work: Callable[[Datastore, JsonObject], Made],
        *,
        threaded: bool,
    ) -> Made:
        try:
            schema = (await self._catalogue.pack(account, pack)).schema
        except NotFound:
            schema = None
        stored = await self._catalogue.config(account, pack)
        values = {} if stored is None else stored[1]
        threaded = threaded or holds_template(values)
        known: dict[tuple[str, str], StoredKey | None] = {}

        def once(keys: KnownKeys) -> Made:
            return work(keys, resolve_config(schema, values, keys))

        for _ in range(_ROUNDS):
            keys = KnownKeys(known, self._datastore.sealer(account))
            try:
                made = await asyncio.to_thread(once, keys) if threaded else once(keys)
            except RunyardError:
                if not keys.wanted:
                    raise
            else:
                if not keys.wanted:
                    return made
            user = str(context.get("user") or "")
            known.update(await self._datastore.fetch(account, user, sorted(keys.wanted)))
        raise ParameterUnresolved("the templates name keys that name keys, too many times over")
