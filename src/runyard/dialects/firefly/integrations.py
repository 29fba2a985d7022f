"""Integrations with version control, and what is in their repositories."""

from typing import Final

from runyard.dialects.door import Call
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.projectwire import IntegrationItem, RepositoryItem, TreeNode
from runyard.dialects.firefly.replies import send_json
from runyard.dialects.firefly.services import FireflyServices
from runyard.infrastructure.integrations.model import Node

KINDS: Final = ("github", "gitlab", "bitbucket", "bitbucketdc", "codecommit", "azuredevops")


class IntegrationHandlers:
    """Where code comes from."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._integrations = services.integrations

    async def list(self, call: Call) -> None:
        """List integrations by their kinds: all that a workspace may name."""
        found: dict[str, list[IntegrationItem]] = {kind: [] for kind in KINDS}
        for one in await self._integrations.usable_by(call.caller):
            item = IntegrationItem(
                id=one.id,
                name=one.name,
                type=one.type,
                is_enabled=True,
                active=True,
                sync_status="outOfSync" if one.fetch_error else "synced",
                last_fetch_success=one.fetched_at,
            )
            found.setdefault(one.type, []).append(item)
        await send_json(call, found)

    async def repositories(self, call: Call) -> None:
        """List the repositories of an integration."""
        values = reading.query(call)
        reading.boolean(values, "onlyPrivateRepos")  # all are reached by the integration's credential
        found = await self._integrations.repositories(
            call.caller, call.params["type"], call.params["integrationId"]
        )
        await send_json(
            call,
            [
                RepositoryItem(
                    full_name=one.full_name, default_branch=one.default_branch, description=one.description
                )
                for one in found
            ],
        )

    async def tree(self, call: Call) -> None:
        """Show the folders of a repository."""
        values = reading.query(call)
        node = await self._integrations.tree(
            call.caller,
            call.params["type"],
            call.params["integrationId"],
            reading.required(values.get("repo"), "repo"),
            values.get("branch", ""),
            files=reading.boolean(values, "includeFiles"),
        )
        await send_json(call, _node(node))


def _node(node: Node) -> TreeNode:
    kind = "file" if node.is_file else "directory"
    return TreeNode(name=node.name, path=node.path, type=kind, children=[_node(one) for one in node.children])
