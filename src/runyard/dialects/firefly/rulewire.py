"""The shapes of guardrails, policies and what was planned. Owns names and types of the dialect's members; computes nothing."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from runyard.dialects.firefly.wire import Camel, SearchIn, Text, Texts


class NotificationIn(Camel, kw_only=True):
    """Where a rule tells of what it finds."""

    destination: Text = None
    """An http or https URL."""
    type: Text = None
    """`webhook`, which is also what is meant without it."""
    events: Texts = None
    """Some of `violated`, `blocked`, `acknowledged`; the first and the last when left out."""
    secret: Text = None
    """The key that signs, at least 16 characters; left out, one is made and answered once."""


class GuardrailIn(Camel, kw_only=True):
    """A rule."""

    created_by: Text = None
    name: Text = None
    type: Text = None
    """`policy`, `cost`, `resource` or `tag`."""
    scope: dict[str, Any] | None = None
    criteria: dict[str, Any] | None = None
    is_enabled: bool | None = None
    severity: Any = None
    """1 flexible, 2 strict, 3 warning."""
    enforce_on_no_op: bool | None = None
    notification_id: Text = None
    notification: NotificationIn | None = None
    account_id: Text = None


class GuardrailItem(Camel, kw_only=True):
    """A rule as it is kept."""

    id: str
    account_id: str
    created_by: str
    name: str
    type: str
    scope: dict[str, Any]
    criteria: dict[str, Any] | UnsetType = UNSET
    is_enabled: bool
    severity: int
    enforce_on_no_op: bool
    notification_id: str
    created_at: datetime
    updated_at: datetime


class GuardrailMade(Camel, kw_only=True):
    """That a rule was made."""

    rule_id: str
    notification_id: str
    notification_secret: str | UnsetType = UNSET
    """The key that signs its webhooks, when one was made; shown this once."""


class GuardrailChanged(Camel, kw_only=True):
    """That a rule was changed."""

    id: str
    name: str
    enabled: bool
    updated_at: datetime


class MessageOut(Camel, kw_only=True):
    """That it was done, in words."""

    status: int
    message: str


class GuardrailFilters(Camel, kw_only=True):
    """Conditions: any of a list, all members together."""

    created_by: Texts = None
    type: Texts = None
    labels: Texts = None
    repositories: Texts = None
    workspaces: Texts = None
    branches: Texts = None


class GuardrailSearchIn(SearchIn):
    """Which rules to list."""

    filters: GuardrailFilters | None = None


class ResourceSearchIn(SearchIn):
    """Which planned resources to list, and in which shape."""

    mode: Any = None
    """`tree` for modules with what is in them; anything else lists resources."""


class ResourceItem(Camel, kw_only=True):
    """A planned resource."""

    id: str
    """Its address."""
    address: str
    type: str
    name: str
    module: str
    provider: str
    region: str
    action: str
    action_reason: str
    """Why, in words; empty when Terraform gives no reason."""
    status: str
    tags: dict[str, str] | None
    cost: "CostItem"
    violations: "list[ViolationItem]"


class CostItem(Camel, kw_only=True):
    """Dollars a month; null when unknown, or when it does not exist then."""

    before: float | None
    after: float | None


class ViolationItem(Camel, kw_only=True):
    """What a rule found in a resource."""

    rule_id: str
    rule_name: str
    type: str
    severity: int
    message: str


class ModuleItem(Camel, kw_only=True):
    """A module with what is in it."""

    id: str
    """Its address."""
    name: str
    address: str
    children: "list[ModuleItem]"
    resources: list[ResourceItem]


class PlannedItem(Camel, kw_only=True):
    """A planned resource, or with the mode `tree` a module: then it has `children` and `resources` and no more."""

    id: str
    name: str
    address: str
    children: list[ModuleItem] | UnsetType = UNSET
    resources: list[ResourceItem] | UnsetType = UNSET
    type: str | UnsetType = UNSET
    module: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    action: str | UnsetType = UNSET
    action_reason: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    cost: CostItem | UnsetType = UNSET
    violations: list[ViolationItem] | UnsetType = UNSET


class FileItem(Camel, kw_only=True):
    """A changed file."""

    id: str
    """Its path."""
    name: str
    path: str
    status: str
    previous_path: str | UnsetType = UNSET
    additions: int
    deletions: int
    size: int | None
    binary: bool
    patch: str
    content: str | None
    """Null for a file that is gone, binary or large."""


class FolderItem(Camel, kw_only=True):
    """Changed files of a folder."""

    id: str
    """Its path."""
    folder: str
    files: list[FileItem]


# --- governance ---


class PolicyIn(Camel, kw_only=True):
    """A policy."""

    name: Text = None
    description: Text = None
    code: Text = None
    """Rego as base64."""
    type: Any = None
    """Resource types."""
    provider_ids: Texts = None
    labels: Any = None
    severity: Any = None
    """1 trace, 2 info, 3 low, 4 medium, 5 high, 6 critical."""
    category: Text = None
    frameworks: Texts = None
    is_enabled: bool | None = None


class PolicyItem(Camel, kw_only=True):
    """A policy as it is kept."""

    id: str = msgspec.field(name="_id")
    account_id: str
    name: str
    description: str
    rego: str
    """Base64, exactly as it came."""
    type: list[str]
    provider_ids: list[str]
    labels: list[str]
    severity: int
    category: str
    frameworks: list[str]
    is_enabled: bool
    is_default: bool
    created_at: datetime
    updated_at: datetime


class PolicyListIn(msgspec.Struct, kw_only=True):
    """Which policies to list. The spelling of the members is the published one."""

    query: Text = None
    labels: Texts = None
    frameworks: Texts = None
    category: Text = None
    is_default: bool | None = msgspec.field(default=None, name="isDefault")
    only_subscribed: bool | None = msgspec.field(default=None, name="onlySubscribed")
    only_production: bool | None = msgspec.field(default=None, name="onlyProduction")
    only_matching_assets: bool | None = msgspec.field(default=None, name="onlyMatchingAssets")
    only_enabled: bool | None = msgspec.field(default=None, name="onlyEnabled")
    only_available_providers: bool | None = msgspec.field(default=None, name="onlyAvailableProviders")
    show_exclusion: bool | None = msgspec.field(default=None, name="showExclusion")
    type: Texts = None
    providers: Texts = None
    integrations: Texts = None
    providers_accounts: Texts = msgspec.field(default=None, name="providersAcoounts")
    severity: list[int] | None = None
    id: Texts = None
    page: int | None = None
    """From 1."""
    page_size: int | None = None
    sorting: Any = None


class PolicyPage(msgspec.Struct, kw_only=True):
    """A page of policies."""

    hits: list[PolicyItem]
    total: int
    page: int
    page_size: int


class PackageIn(Camel, kw_only=True):
    """Rego that policies share."""

    code: Text = None
    """Rego as base64, without a package line."""


class PackageItem(Camel, kw_only=True):
    """A shared package."""

    name: str
    code: str
    updated_by: str
    updated_at: datetime
