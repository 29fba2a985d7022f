"""The composition of plans and guardrails: their services over the shared parts. A list, part of infrastructure's."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from runyard.database.engine import Database
from runyard.infrastructure.costs.estimator import Estimator
from runyard.infrastructure.costs.table import load
from runyard.infrastructure.guardrails.adapters import RunJudge, RunPlans
from runyard.infrastructure.guardrails.judge import JudgeService
from runyard.infrastructure.guardrails.service import GuardrailService
from runyard.infrastructure.notifications.destinations import DestinationOptions
from runyard.infrastructure.notifications.sender import Sender
from runyard.infrastructure.notifications.service import NotificationService
from runyard.infrastructure.plans.files import ChangedFileService
from runyard.infrastructure.plans.service import PlanOptions, PlanService
from runyard.infrastructure.policies.evaluation import EvaluationOptions
from runyard.infrastructure.policies.service import PolicyService
from runyard.kernel.crypto import Vault
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GuardHouse:
    """What reads plans and judges them."""

    plans: PlanService
    files: ChangedFileService
    policies: PolicyService
    notifications: NotificationService
    guardrails: GuardrailService
    judge: JudgeService
    sender: Sender
    run_plans: RunPlans
    """What runs call of plans."""
    run_judge: RunJudge
    """What runs call of guardrails."""

    def start(self, stack: AsyncExitStack) -> None:
        """Begin to send what waits; the stack ends it."""
        stack.callback(self.policies.close)
        self.sender.start()
        stack.push_async_callback(self.sender.stop)

    async def forget_old(self) -> None:
        """Remove what is beyond its retention."""
        await self.plans.forget_old()
        await self.files.forget_old()
        await self.notifications.forget_old()


def make_guards(settings: Settings, database: Database, vault: Vault) -> GuardHouse:
    """Put the services of plans and guardrails together. Raises BadPrices."""
    chosen = settings.guardrails
    days = chosen.plan_retention_days
    retention = timedelta(days=days) if days else None
    destinations = DestinationOptions(
        allowed_hosts=chosen.webhook_hosts, allow_private=chosen.webhook_private
    )
    bounds = EvaluationOptions(total_seconds=chosen.policy_secs, step_seconds=chosen.policy_step_secs)
    estimator = None
    if chosen.estimator_url:
        estimator = Estimator(chosen.estimator_url, chosen.estimator_timeout_secs)
    plans = PlanService(database, load(chosen.prices), PlanOptions(retention=retention))
    files = ChangedFileService(database, retention)
    policies = PolicyService(database, bounds)
    notifications = NotificationService(database, vault, destinations)
    judge = JudgeService(database, plans, policies, notifications)
    return GuardHouse(
        plans=plans,
        files=files,
        policies=policies,
        notifications=notifications,
        guardrails=GuardrailService(database, notifications),
        judge=judge,
        sender=Sender(database, notifications, destinations),
        run_plans=RunPlans(plans, files, estimator),
        run_judge=RunJudge(plans, judge),
    )
