"""A second tenant on a server. Owns the one way in: the operator's, on the data folder, while the server is down."""

import asyncio

from runyard.database.engine import Database
from runyard.identity.service import IdentityService
from tests.support.server import Server


def add_account(server: Server, slug: str) -> str:
    """Add an account to a stopped server and return its admin's token."""
    assert server.process is None, "the data folder belongs to the running server"

    async def add() -> str:
        database = await Database.open(None, server.data_dir)
        try:
            _, token = await IdentityService(database).create_account(slug, slug)
            return token
        finally:
            await database.close()

    return asyncio.run(add())
