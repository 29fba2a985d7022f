"""What happens in a repository and may start runs. Owns which workspaces a push, a merge or a pull request is for."""

from collections.abc import Sequence
from typing import Final

import msgspec

from runyard.identity.model import Permission, Principal
from runyard.infrastructure.runs.model import NewRun, Origin, Run, RunKind, Trigger
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.workspaces.model import Match, Workspace, WorkspaceQuery
from runyard.kernel.errors import InvalidArgument

EVENTS: Final = (Trigger.PUSH, Trigger.MERGE, Trigger.PULL_REQUEST)
_PAGE: Final = 500


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a repository."""

    event: Trigger
    """One of `EVENTS`."""
    repository: str
    """As workspaces name it: `owner/name`."""
    branch: str
    """To which was pushed or merged; of a pull request, that which it would be merged into."""
    source_branch: str = ""
    """Of a pull request: the branch that would be merged."""
    commit: str = ""
    commit_url: str = ""
    title: str = ""
    pull_request_id: str = ""
    pull_request_url: str = ""


class PushService:
    """Starts the runs that a push is for."""

    def __init__(self, runs: RunService) -> None:
        """Work on runs."""
        self._runs = runs

    async def happened(self, caller: Principal, push: Push, door: str = "native") -> Sequence[Run]:
        """Start a run in every managed workspace of this repository and branch that wants this event: an apply by its
        rule for a push or a merge, a plan for a pull request. Raises InvalidArgument, PermissionDenied.
        """
        caller.require(Permission.WORKSPACES_RUN)
        if push.event not in EVENTS or not push.repository or not push.branch:
            raise InvalidArgument("a push needs an event, a repository and a branch")
        return [
            await self._runs.create(caller, workspace.id, _run_of(push, door))
            for workspace in await self._wanting(caller, push)
        ]

    async def _wanting(self, caller: Principal, push: Push) -> Sequence[Workspace]:
        found: list[Workspace] = []
        offset = 0
        match = Match(repositories=[push.repository], managed=True)
        while True:
            query = WorkspaceQuery(match=match, offset=offset, limit=_PAGE)
            page = await self._runs.workspaces.search(caller.scope, query)
            found += [
                one for one in page if one.code.branch == push.branch and push.event.value in one.triggers
            ]
            if len(page) < _PAGE:
                return found
            offset += _PAGE


def _run_of(push: Push, door: str) -> NewRun:
    proposed = push.event is Trigger.PULL_REQUEST
    origin = Origin(
        branch=(push.source_branch if proposed else "") or push.branch,
        commit=push.commit,
        commit_url=push.commit_url,
        commit_title=push.title,
        pull_request_id=push.pull_request_id,
        pull_request_url=push.pull_request_url,
    )
    kind = RunKind.PLAN if proposed else RunKind.APPLY
    return NewRun(kind=kind, trigger=push.event, title=push.title, origin=origin, door=door)
