"""The composition of infrastructure: its services over the shared parts. A wing of the house, like that of actions."""

from collections.abc import Mapping
from dataclasses import dataclass

from runyard.database.engine import Database
from runyard.identity.members import MemberService
from runyard.identity.service import IdentityService
from runyard.infrastructure.guardrails.judge import JudgeService
from runyard.infrastructure.guardrails.service import GuardrailService
from runyard.infrastructure.integrations.remote import RemoteReader
from runyard.infrastructure.integrations.service import IntegrationService
from runyard.infrastructure.plans.files import ChangedFileService
from runyard.infrastructure.plans.service import PlanService
from runyard.infrastructure.policies.service import PolicyService
from runyard.infrastructure.projects.service import CheckEmpty, ProjectService
from runyard.infrastructure.provisioner.git import Git
from runyard.infrastructure.remote.service import RemoteExecutionService
from runyard.infrastructure.runs.drift import DriftService
from runyard.infrastructure.runs.external import ExternalService
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.variables.sets import VariableSetService
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import Vault
from runyard.server import options
from runyard.server.actions import Shared
from runyard.server.guarding import GuardHouse, make_guards
from runyard.server.runs import Given, Neighbours, RunHouse, make_runs
from runyard.server.states import StateHouse, make_states
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class InfrastructureHouse:
    """All services of infrastructure; the Firefly, Harness and Terraform doors stand before them."""

    database: Database
    identity: IdentityService
    members: MemberService
    workspaces: WorkspaceService
    runs: RunService
    line: RunLine
    projects: ProjectService
    variables: VariableService
    variable_sets: VariableSetService
    git: Git
    integrations: IntegrationService
    kept: StateHouse
    """States, their locks, uploaded code, tokens for clouds."""
    vault: Vault
    guards: GuardHouse
    plans: PlanService
    changed_files: ChangedFileService
    policies: PolicyService
    guardrails: GuardrailService
    judge: JudgeService
    archives: Mapping[str, BlobStore]
    """Where uploaded code is, by the name that `Archive.store` has."""
    running: RunHouse
    """What runs plans and applies."""
    remote: RemoteExecutionService
    drift: DriftService
    external: ExternalService


def make_infrastructure(settings: Settings, shared: Shared, check_empty: CheckEmpty) -> InfrastructureHouse:
    """Put the services of infrastructure together; `check_empty` looks for what other domains have in a project."""
    database, identity, vault = shared.database, shared.identity, shared.vault
    guards = make_guards(settings, database, vault)
    workspaces = WorkspaceService(database, identity)
    line = RunLine(database, shared.executions, workspaces, settings.infrastructure.runs_at_once)
    runs = RunService(database, shared.executions, workspaces, line, vault, guards.run_judge)
    members = MemberService(database, identity)
    variables = VariableService(database, identity, vault)
    roots = settings.infrastructure.local_repositories
    git = Git(settings.data_dir / "git", local_roots=roots, limits=options.git_limits(settings))
    reader = RemoteReader(git, settings.data_dir / "git" / "looks")
    projects = ProjectService(database, identity, members, runs, variables, check_empty)
    integrations = IntegrationService(database, vault, reader, roots)
    kept = make_states(settings, shared, projects, workspaces)
    remote = BlobStore(settings.data_dir / "archives" / "remote")
    archives = {"remote": remote, "configurations": kept.archives}
    given = Given(workspaces=workspaces, line=line, git=git, archives=archives, runs=runs)
    around = Neighbours(
        variables=variables,
        repositories=integrations,
        state=kept.access,
        plans=guards.run_plans,
        judge=guards.run_judge,
        oidc=kept.tokens,
    )
    return InfrastructureHouse(
        database=database,
        identity=identity,
        members=members,
        workspaces=workspaces,
        runs=runs,
        line=line,
        projects=projects,
        variables=variables,
        variable_sets=VariableSetService(database, identity, vault),
        git=git,
        integrations=integrations,
        kept=kept,
        vault=vault,
        guards=guards,
        plans=guards.plans,
        changed_files=guards.files,
        policies=guards.policies,
        guardrails=guards.guardrails,
        judge=guards.judge,
        archives=archives,
        running=make_runs(settings, shared, given, around),
        remote=RemoteExecutionService(database, runs, archives["remote"]),
        drift=DriftService(database, runs, projects),
        external=ExternalService(
            database, runs, around.plans, around.judge, options.approval_window(settings)
        ),
    )
