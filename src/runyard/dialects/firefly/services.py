"""What the Firefly door needs of the house. The composition root hands over anything that has these."""

from typing import Protocol

from runyard.database.engine import Database
from runyard.identity.members import MemberService
from runyard.identity.service import IdentityService
from runyard.infrastructure.guardrails.judge import JudgeService
from runyard.infrastructure.guardrails.service import GuardrailService
from runyard.infrastructure.integrations.service import IntegrationService
from runyard.infrastructure.plans.files import ChangedFileService
from runyard.infrastructure.plans.service import PlanService
from runyard.infrastructure.policies.service import PolicyService
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.variables.sets import VariableSetService
from runyard.infrastructure.workspaces.service import WorkspaceService


class FireflyServices(Protocol):
    """The domain services behind the door."""

    @property
    def database(self) -> Database:
        """For its broker of events."""
        ...

    @property
    def identity(self) -> IdentityService:
        """Users and tokens."""
        ...

    @property
    def members(self) -> MemberService:
        """Who belongs to which project."""
        ...

    @property
    def projects(self) -> ProjectService:
        """The tree of projects."""
        ...

    @property
    def variables(self) -> VariableService:
        """Variables of projects and workspaces."""
        ...

    @property
    def variable_sets(self) -> VariableSetService:
        """Variable sets."""
        ...

    @property
    def integrations(self) -> IntegrationService:
        """Where code comes from."""
        ...

    @property
    def workspaces(self) -> WorkspaceService:
        """Workspaces."""
        ...

    @property
    def runs(self) -> RunService:
        """Their runs."""
        ...

    @property
    def plans(self) -> PlanService:
        """What was planned."""
        ...

    @property
    def changed_files(self) -> ChangedFileService:
        """Files that the commits of runs changed."""
        ...

    @property
    def guardrails(self) -> GuardrailService:
        """Rules for plans."""
        ...

    @property
    def judge(self) -> JudgeService:
        """What the rules found."""
        ...

    @property
    def policies(self) -> PolicyService:
        """Governance policies."""
        ...
