"""Runs what was asked for. Owns the way from an execution that begins to its runner, and from a result to the ledger."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from runyard.actions.catalogue import LARGEST_PREPARED, Catalogue
from runyard.actions.errors import InvalidMetadata
from runyard.actions.keepable import cleaned
from runyard.actions.masking import mask_result, redact, secret_texts
from runyard.actions.model import Action
from runyard.actions.packs.loader import check_action
from runyard.actions.parameters.validate import Parameters
from runyard.actions.runners.job import Job, JobRunner, failed
from runyard.actions.runners.simple import not_there
from runyard.actions.runs import store
from runyard.actions.runs.model import Asker, Run
from runyard.actions.runs.service import RUNNER, RunService
from runyard.actions.store import StoredPack
from runyard.actions.values import JsonObject
from runyard.database.engine import Database
from runyard.executions.dispatch.port import Assignment
from runyard.executions.model import Execution, Outcome
from runyard.executions.worker import RunContext, Runner
from runyard.identity.model import ALL_PERMISSIONS, Permission, Scope
from runyard.identity.passing import PassingGrant
from runyard.identity.service import IdentityService
from runyard.kernel.errors import NotFound, RunyardError
from runyard.kernel.ids import AccountId, UserId
from runyard.kernel.jsons import encode_json

_PREPARED: Final = 512
_log = structlog.get_logger(__name__)


class ActionWorker:
    """Obeys the assignments of actions."""

    def __init__(
        self,
        database: Database,
        runs: RunService,
        catalogue: Catalogue,
        identity: IdentityService,
        runners: Mapping[str, JobRunner],
    ) -> None:
        """Take the runners by the names of their types."""
        self._identity = identity
        self._database = database
        self._runs = runs
        self._catalogue = catalogue
        self._runners = runners
        self._prepared: dict[bytes, tuple[Action, Parameters]] = {}

    def register(self) -> None:
        """Tell the ledger who obeys."""
        self._runs.executions.register_runner(RUNNER, self._factory)

    def _factory(self, assignment: Assignment) -> Runner:
        del assignment
        return self.run

    async def run(self, context: RunContext) -> Outcome:
        """Run the action of an execution; whatever a runner raises becomes the published failure."""
        async with self._database.read() as tx:
            run = await store.get(tx, context.execution.id)
        if run is None:
            raise NotFound("the execution has no action")
        token = self._identity.begin_passing(_grant(context.execution, run))
        try:
            job = await self._job(context, run, token)
            outcome = await self._runners.get(job.runner.name, not_there)(job, context)
            return await self._kept(job, outcome)
        except RunyardError as error:
            return failed(error.message, "".join(traceback.format_exception_only(error)))
        except Exception as error:  # noqa: BLE001  a runner's fault is the failure of its run
            _log.exception("actions.runner_failed", execution_id=context.execution.id)
            return failed(str(error) or type(error).__name__, "".join(traceback.format_exception_only(error)))
        finally:
            self._identity.end_passing(token)

    async def _job(self, context: RunContext, run: Run, token: str) -> Job:
        execution = context.execution
        action, parameters = self._action(run)
        live = self._runs.opened(run)
        given, config = await self._runs.resolver.dispatched(
            execution.account_id, parameters, live, run.context
        )
        everything = {**given.runner, **given.action}
        pack = await self._pack(execution.account_id, action.pack)
        secrets = secret_texts(everything, action.parameters, parameters.runner.runner_parameters)
        if pack is not None and pack.schema is not None:
            secrets |= secret_texts(config, pack.schema.attributes)
        context.hide([text.encode() for text in (*secrets, token)])
        return Job(
            execution=execution,
            run=run,
            action=action,
            runner=parameters.runner,
            parameters=parameters,
            given=given,
            config=config,
            pack_folder=Path(pack.pack.path) if pack is not None and pack.pack.path else None,
            token=token,
            secrets=frozenset((*secrets, token)),
        )

    def _action(self, run: Run) -> tuple[Action, Parameters]:
        """Return the action as it was when the execution was asked for, prepared once for all its runs."""
        key = encode_json(run.action)
        known = self._prepared.get(key)
        if known is None:
            action = _action_of(run)
            known = action, check_action(action)
            if len(key) <= LARGEST_PREPARED:
                if len(self._prepared) >= _PREPARED:
                    self._prepared.clear()
                self._prepared[key] = known
        return known

    async def _pack(self, account: AccountId, pack: str) -> StoredPack | None:
        try:
            return await self._catalogue.pack(account, pack)
        except NotFound:
            return None

    async def _kept(self, job: Job, outcome: Outcome) -> Outcome:
        """Mask the result for the ledger; where that changes it, keep it in clear under seal."""
        if outcome.result is None:
            return outcome
        result: JsonObject = cleaned(outcome.result)
        outcome = msgspec.structs.replace(outcome, result=result)
        masked = redact(mask_result(result, job.runner, job.action.output_schema), job.secrets)
        if masked == result:
            return outcome
        await self._runs.keep_result(job.execution.id, result)
        return msgspec.structs.replace(outcome, result=masked)


def _grant(execution: Execution, run: Run) -> PassingGrant:
    """Return on whose behalf a run may call the server: that of its user, never more than the asker's token allowed."""
    asker = run.asker or Asker("")
    known = {one.value: one for one in Permission}
    every = "*" in asker.scopes
    return PassingGrant(
        scope=Scope(execution.account_id, execution.project_id, execution.project_path),
        user_name=run.user_name,
        asker_id=UserId(asker.user_id),
        scopes=ALL_PERMISSIONS if every else frozenset(known[one] for one in asker.scopes if one in known),
    )


def _action_of(run: Run) -> Action:
    """Return the action as it was when the execution was asked for."""
    known = {field.name for field in msgspec.structs.fields(Action)}
    try:
        return msgspec.convert({name: value for name, value in run.action.items() if name in known}, Action)
    except msgspec.ValidationError as error:
        raise InvalidMetadata(str(error)) from None
