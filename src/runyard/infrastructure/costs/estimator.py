"""Asking an external estimator. Owns the request: a masked plan is posted to the operator's address, an estimate comes back."""

from collections.abc import AsyncIterator
from typing import Final

import httpx2

from runyard.infrastructure.costs.errors import BadEstimate
from runyard.infrastructure.costs.estimate import Estimate, parse
from runyard.kernel.errors import Unavailable

_LARGEST: Final = 64 << 20


class EstimatorAbsent(Unavailable):
    """The estimator of costs did not answer."""

    code = "estimator_absent"


class Estimator:
    """An external estimator behind an address."""

    def __init__(self, url: str, timeout_secs: float) -> None:
        """Post to a URL."""
        self._url = url
        self._timeout = timeout_secs

    async def estimate(self, plan: AsyncIterator[bytes]) -> Estimate:
        """Post a plan in pieces and read the estimate. Raises EstimatorAbsent, BadEstimate."""
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                httpx2.AsyncClient(timeout=self._timeout, trust_env=False) as client,
                client.stream("POST", self._url, content=plan, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise EstimatorAbsent(f"the estimator answered {answer.status_code}")
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        raise BadEstimate(f"the estimate has more than {_LARGEST} bytes")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise EstimatorAbsent(
                f"the estimator did not answer: {str(error) or type(error).__name__}"
            ) from None
        return parse(bytes(body))
