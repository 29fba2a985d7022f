"""How many executions a filter matches, exactly and without counting a history again and again.

Owns the memo. What has ended never changes, so the part of a count that lies in the past is kept: only what is younger,
and what had not ended then, is counted anew. The memo is dropped after a while, because clocks can be set back.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

import msgspec

from runyard.actions.runs import store
from runyard.actions.runs.model import RunFilter
from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.kernel.clock import Now, monotonic

SETTLED: Final = timedelta(seconds=60)
"""Longer than any transaction lasts: what is older than this is either there or will never be."""
_KEPT: Final = 256
_LIVE_AT_MOST: Final = 2000
"""With more that has not ended than this, everything is counted."""
_STALE_SECONDS: Final = 600.0
FORWARD: Final = timedelta(minutes=5)
"""Past that is counted anew this long is added to the memo."""


class _Memo(msgspec.Struct):
    until: datetime
    live: frozenset[str]
    """What had not ended then, and is therefore not in `ended`."""
    ended: int
    stale_after: float


class Counter:
    """Counts executions under filters."""

    def __init__(self, now: Now, settled: timedelta = SETTLED, forward: timedelta = FORWARD) -> None:
        """Remember nothing yet."""
        self._now = now
        self._settled = settled
        self._forward = forward
        self._memos: OrderedDict[bytes, _Memo] = OrderedDict()

    async def count(self, tx: Transaction, scope: Scope, wanted: RunFilter) -> int:
        """Return the number of executions under a filter."""
        plain = msgspec.structs.replace(wanted, sort=(), offset=0, limit=None)
        if wanted.nothing:
            return 0
        if wanted.ids or wanted.liveaction is not None or wanted.parent is not None:
            return await store.count(tx, scope, plain)  # few rows anyway
        key = msgspec.msgpack.encode((str(scope.account_id), scope.project_path, plain))
        memo = self._memos.get(key)
        if memo is None or memo.stale_after < monotonic():
            memo = await self._made(tx, scope, plain)
            if memo is None:
                return await store.count(tx, scope, plain)
        else:
            memo = await self._moved(tx, scope, plain, memo)
        self._memos[key] = memo
        self._memos.move_to_end(key)
        while len(self._memos) > _KEPT:
            self._memos.popitem(last=False)
        younger = await store.count(tx, scope, plain, younger=memo.until)
        return memo.ended + younger + await self._among(tx, scope, plain, memo.live)

    async def _made(self, tx: Transaction, scope: Scope, wanted: RunFilter) -> _Memo | None:
        until = self._now() - self._settled
        live = await store.live_until(tx, until, _LIVE_AT_MOST + 1)
        if len(live) > _LIVE_AT_MOST:
            return None
        whole = await store.count(tx, scope, wanted, older=until)
        ended = whole - await self._among(tx, scope, wanted, live)
        return _Memo(until, live, ended, monotonic() + _STALE_SECONDS)

    async def _moved(self, tx: Transaction, scope: Scope, wanted: RunFilter, memo: _Memo) -> _Memo:
        """Move the border between what is kept and what is counted, when it lies far back."""
        until = self._now() - self._settled
        if until - memo.until < self._forward:
            return memo
        live = await store.live_until(tx, until, _LIVE_AT_MOST + 1)
        if len(live) > _LIVE_AT_MOST:
            return memo
        between = await store.count(tx, scope, wanted, younger=memo.until, older=until)
        # All up to the new border: what had ended, what had not, and what came since; without what has not ended now.
        whole = memo.ended + await self._among(tx, scope, wanted, memo.live) + between
        ended = whole - await self._among(tx, scope, wanted, live)
        return _Memo(until, live, ended, memo.stale_after)

    async def _among(self, tx: Transaction, scope: Scope, wanted: RunFilter, ids: frozenset[str]) -> int:
        if not ids:
            return 0
        return await store.count(tx, scope, msgspec.structs.replace(wanted, ids=sorted(ids)))
