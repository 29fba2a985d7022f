"""What the client asks before it knows who it is: health and capabilities."""

from typing import Final

from runyard import __version__
from runyard.dialects.door import Call
from runyard.dialects.dreadnode.replies import send_json

API_VERSION: Final = "v1"


async def health(call: Call) -> None:
    """Tell that the server answers."""
    await send_json(call, {"status": "ok"})


async def config(call: Call) -> None:
    """Tell what kind of installation this is."""
    headers = dict(call.scope["headers"])
    host = headers.get(b"host", b"localhost").decode("latin-1")
    view = {
        "app_version": __version__,
        "api_version": API_VERSION,
        "deployment_mode": "self_hosted",
        "website_url": f"{call.scope.get('scheme', 'http')}://{host}",
        "credits_enabled": False,
        "integrations_enabled": False,
    }
    await send_json(call, view)
