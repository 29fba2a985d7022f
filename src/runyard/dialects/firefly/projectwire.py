"""The shapes of projects, members, users, variables and integrations. Owns names and types; computes nothing."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from runyard.dialects.firefly.wire import Camel, MaybeText, MaybeTexts, Text, Texts
from runyard.infrastructure.variables.model import Destination, Sensitivity


class VariableIn(Camel):
    """A variable to write."""

    key: str
    value: Text = None
    """May be left out for a secret that is there already."""
    sensitivity: Sensitivity | None = None
    destination: Destination | None = None


class VariablesIn(Camel):
    """Variables to write by key and destination."""

    variables: list[VariableIn]


class VariableNamesIn(Camel):
    """Variables to delete: by ids or by keys, in either member."""

    variable_ids: Texts = None
    variable_keys: Texts = None


class VariableItem(Camel, omit_defaults=True, kw_only=True):
    """A variable; a secret has no value."""

    id: str
    key: str
    value: str | UnsetType = UNSET
    sensitivity: str
    destination: str


class VariableSetIn(Camel):
    """A variable set to make."""

    name: str
    description: Text = None
    labels: Texts = None
    parents: Texts = None
    variables: list[VariableIn] | None = None


class VariableSetChange(Camel):
    """What to change of a variable set; variables replace all that it has."""

    name: MaybeText = UNSET
    description: MaybeText = UNSET
    labels: MaybeTexts = UNSET
    parents: MaybeTexts = UNSET
    variables: list[VariableIn] | UnsetType | None = UNSET


class VariableSetItem(Camel):
    """A variable set."""

    id: str
    version: int
    name: str
    description: str
    labels: list[str]
    parents: list[str]


class VariableSetFull(VariableSetItem):
    """A variable set with what is known of it alone."""

    consumable: bool
    descendants: list[str]


class VariableSetMade(Camel):
    """The id of a new variable set."""

    variable_set_id: str


class AttachIn(Camel):
    """How a project uses a variable set."""

    consume: bool | None = None
    """Whether its values flow to the workspaces of the project and below; true when left out."""


class ProjectIn(Camel):
    """A project to make."""

    name: str
    description: Text = None
    labels: Texts = None
    pool_id: Text = None
    cron_execution_pattern: Text = None
    oidc_authentication: bool | None = None
    parent_id: Text = None
    variables: list[VariableIn] | None = None


class ProjectChange(Camel):
    """What to change of a project."""

    name: MaybeText = UNSET
    description: MaybeText = UNSET
    labels: MaybeTexts = UNSET
    pool_id: MaybeText = UNSET
    cron_execution_pattern: MaybeText = UNSET
    oidc_authentication: bool | UnsetType | None = UNSET
    variables: list[VariableIn] | UnsetType | None = UNSET


class ProjectItem(Camel):
    """A project."""

    id: str
    account_id: str
    name: str
    description: str
    labels: list[str]
    pool_id: str | None
    cron_execution_pattern: str
    oidc_authentication: bool | None
    members_count: int
    workspace_count: int
    parent_id: str


class ProjectNode(ProjectItem):
    """A project with those below it."""

    children: list["ProjectNode"]


class ProjectPage(Camel):
    """A page of projects."""

    data: list[ProjectItem]
    total_count: int


class ProjectTree(Camel):
    """Projects as a tree."""

    data: list[ProjectNode]


class MemberIn(Camel):
    """Whom to add: a user by id, name or e-mail address."""

    user_id: str
    role: str
    email: Text = None


class MemberItem(Camel, omit_defaults=True):
    """A member."""

    user_id: str
    role: str
    email: str | UnsetType = UNSET


class UserItem(Camel):
    """A user of the account."""

    id: str
    user_id: str
    name: str
    email: str
    kind: str
    created_at: datetime


class IntegrationItem(Camel):
    """An integration."""

    id: str
    name: str
    type: str
    is_enabled: bool
    active: bool
    sync_status: str
    """`synced` or `outOfSync`."""
    last_fetch_success: datetime | None
    """When it last answered; clients print it as a text."""


class RepositoryItem(Camel):
    """A repository."""

    full_name: str
    default_branch: str
    description: str


class TreeNode(Camel):
    """A folder or file."""

    name: str
    path: str
    type: str
    """`directory` or `file`."""
    children: list["TreeNode"]
