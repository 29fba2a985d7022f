"""Finds what a path names, in the caller's scope: the organization; and says who writes, and for whom a lock by hand stands."""

from runyard.dialects.door import Call
from runyard.dialects.terraform.services import TerraformServices
from runyard.identity.model import Account, Principal
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.state.model import HolderKind, Lock, Writer
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import NotFound


async def organization(services: TerraformServices, call: Call) -> Account:
    """Return the caller's account when the path names it: by slug, name or id. Raises NotFound for every other one."""
    account = await services.tenancy.account_of(call.caller.scope)
    if call.params["organization"] not in (account.slug, account.name, account.id):
        raise NotFound("organization not found")
    return account


def writer_of(caller: Principal) -> Writer:
    """Return a person or program as a writer of states."""
    return Writer(actor=caller.actor, user_id=caller.user_id)


def refuse_manual(found: Workspace, writer: Writer) -> None:
    """Let nobody but who locked a workspace by hand lock its state. Raises StateLocked with that lock."""
    manual = found.lock
    if manual is None or manual.actor == writer.actor:
        return
    holder = Lock(
        workspace_id=found.id,
        account_id=found.account_id,
        lock_id=manual.holder or f"workspace:{found.id}",
        holder=HolderKind.CLIENT,
        actor=manual.actor,
        created_at=manual.at,
        info={"Who": manual.actor, "Info": manual.reason, "Operation": "manual lock", "Path": found.name},
    )
    raise StateLocked(f"the workspace is locked by {manual.actor}: {manual.reason}", holder=holder)
