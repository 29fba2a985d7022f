"""What runs call of plans and guardrails. Owns the translation between a run and what these need of it; decides nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from runyard.database.engine import Transaction
from runyard.identity.model import Permission, Principal
from runyard.infrastructure.costs.estimator import Estimator
from runyard.infrastructure.guardrails.judge import JudgeService
from runyard.infrastructure.guardrails.model import Violation
from runyard.infrastructure.plans.files import ChangedFileService
from runyard.infrastructure.plans.model import Counts, PlanSummary, Subject
from runyard.infrastructure.plans.service import PlanService
from runyard.infrastructure.runs import ports
from runyard.infrastructure.runs.model import Block, Run
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import RunyardError

_log = structlog.get_logger(__name__)


def subject_of(workspace: Workspace, run: Run) -> Subject:
    """Return what plans and guardrails need of a run."""
    return Subject(
        account_id=run.account_id,
        project_id=run.project_id,
        project_path=run.project_path,
        workspace_id=str(run.workspace_id),
        workspace_name=run.workspace_name,
        repository=run.repository or workspace.code.repository,
        branch=run.origin.branch or workspace.code.branch,
        labels=workspace.labels,
        run_id=str(run.id),
        task_id=str(run.plan_task_id),
    )


async def estimate(plans: PlanService, estimator: Estimator, summary: PlanSummary) -> PlanSummary:
    """Put an estimator's prices in the place of the table's; without an answer those stay, and it is said."""
    try:
        found = await estimator.estimate(plans.pieces(summary))
    except RunyardError as error:
        _log.warning("plans.not_estimated", run_id=summary.run_id, error=error.message)
        return await plans.note_cost(summary, error.message)
    return await plans.put_estimate(summary, found)


class RunPlans:
    """Keeps the plans of runs."""

    def __init__(
        self, plans: PlanService, files: ChangedFileService, estimator: Estimator | None = None
    ) -> None:
        """Take the parts; with an estimator, costs are its estimates."""
        self._plans = plans
        self._files = files
        self._estimator = estimator

    async def ingest(
        self, workspace: Workspace, run: Run, show_json: Path, secrets: Sequence[str] = ()
    ) -> ports.PlanSummary:
        """Read a plan and keep it, masked; then put a price on it. Raises PlanUnreadable."""
        subject = subject_of(workspace, run)
        summary = await self._plans.ingest(subject, show_json, secrets)
        if self._estimator is not None:
            await estimate(self._plans, self._estimator, summary)
        return ports.PlanSummary(has_changes=summary.has_changes, counts=counts_shown(summary))

    async def keep_changed_files(
        self, workspace: Workspace, run: Run, patch: bytes, checkout: Path, secrets: Sequence[str] = ()
    ) -> None:
        """Keep the files of a commit's diff, masked."""
        await self._files.keep(subject_of(workspace, run), patch, checkout, secrets)

    async def mark_applied(self, run: Run, lines: Iterable[bytes]) -> None:
        """Note what became of each resource."""
        await self._plans.mark_applied(run.id, lines)


class RunJudge:
    """Judges the plans of runs."""

    def __init__(self, plans: PlanService, judge: JudgeService) -> None:
        """Take the parts."""
        self._plans = plans
        self._judge = judge

    async def judge(self, workspace: Workspace, run: Run, show_json: Path) -> ports.Verdict:
        """Judge the plan that was ingested. Raises PlanNotFound."""
        del show_json
        summary = await self._plans.of_run(run.id)
        verdict = await self._judge.judge(subject_of(workspace, run), summary)
        return ports.Verdict(
            block=Block(verdict.blocked.value),
            violations=[violation_document(one) for one in verdict.violations],
        )

    async def acknowledge(self, tx: Transaction, caller: Principal, workspace: Workspace, run: Run) -> None:
        """Note in the transaction of the approval that somebody accepts what was found. Raises PermissionDenied,
        NotAcknowledgeable.
        """
        caller.require(Permission.GUARDRAILS_WRITE)
        await self._judge.acknowledge(tx, subject_of(workspace, run), caller.actor)


def violation_document(one: Violation) -> Mapping[str, Any]:
    """Return a violation as runs keep it."""
    return {
        "rule_id": one.rule_id,
        "rule_name": one.rule_name,
        "type": one.type.value,
        "severity": int(one.severity),
        "address": one.address,
        "message": one.message,
    }


def counts_shown(summary: PlanSummary) -> Mapping[str, int]:
    """Return the counts as runs keep them: those of the plan's own line, and each action by its name."""
    counts: Counts = summary.counts
    named: dict[str, int] = msgspec.structs.asdict(counts)
    return {
        "add": counts.added,
        "change": counts.update,
        "destroy": counts.destroyed,
        "drift": summary.drift,
        "outputs": summary.output_changes,
        "import": summary.imported,
        "move": summary.moved,
        **named,
    }
