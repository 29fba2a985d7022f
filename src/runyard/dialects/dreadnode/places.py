"""From the slugs of a path to the tenancy tree: organization = account, workspace = node just below the root, project =
node below that. What the caller may not see is not found, in the dialect's words.
"""

from runyard.dialects.door import Call
from runyard.identity.model import Account, Project
from runyard.identity.tenancy import TenancyService
from runyard.kernel.errors import NotFound


async def organization(tenancy: TenancyService, call: Call) -> Account:
    """Return the caller's account, which the path names. Raises NotFound for any other one."""
    account = await tenancy.account_of(call.caller.scope)
    if call.params["org"] not in (account.slug, account.id):
        raise NotFound("Organization not found")
    return account


async def workspace(tenancy: TenancyService, call: Call) -> Project:
    """Return the node of the tree that the path names as workspace. Raises NotFound."""
    await organization(tenancy, call)
    return await workspace_named(tenancy, call, call.params["ws"])


async def workspace_named(tenancy: TenancyService, call: Call, reference: str) -> Project:
    """Return a workspace by its key or id. Raises NotFound."""
    try:
        return await tenancy.top(call.caller.scope, reference)
    except NotFound:
        raise NotFound("Workspace not found") from None


async def project(tenancy: TenancyService, call: Call, top: Project, reference: str) -> tuple[str, Project]:
    """Return a project of a workspace by its key or id, with its key. Raises NotFound."""
    try:
        return await tenancy.inner_named(call.caller.scope, top, reference)
    except NotFound:
        raise NotFound("Project not found") from None
