"""Log-in of a device: codes, polling, the token, and the small page on which a person confirms.

The page holds no session and sets no cookie: whoever confirms gives a credential with the form, so that no foreign
page can confirm in somebody's name.
"""

import html
from typing import Any, Final
from urllib.parse import parse_qs

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.dreadnode import reading
from runyard.dialects.dreadnode.replies import send_json
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.dialects.reading import header, read_body
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied, RunyardError, Unauthenticated

POLL_SECONDS: Final = 2
_FORM: Final = "application/x-www-form-urlencoded"
_PAGE_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)  # fmt: skip
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Runyard: confirm a device</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:4rem auto;padding:0 1rem;color:#1c2024;
background:#fff}}label{{display:block;margin:1rem 0 .25rem;font-weight:600}}input{{width:100%;box-sizing:border-box;
font:inherit;padding:.5rem;border:1px solid #8b9198;border-radius:4px}}button{{margin-top:1.25rem;font:inherit;
padding:.5rem 1.25rem;border:0;border-radius:4px;background:#1c5dba;color:#fff}}p.bad{{color:#b3261e}}
@media(prefers-color-scheme:dark){{body{{background:#16181b;color:#e6e8ea}}input{{background:#22262b;color:inherit}}
p.bad{{color:#ff8a80}}}}</style></head><body>{body}</body></html>"""
_ASK: Final = """<h1>Confirm a device</h1>
<p>A program asks to act in your name. Go on only if you started its log-in yourself and it shows this code.</p>{fault}
<form method="post" action="/login/device" autocomplete="off">
<label for="code">Code</label><input id="code" name="code" required maxlength="32" value="{code}">
<label for="token">Your token</label><input id="token" name="token" type="password" required maxlength="4096">
<button>Confirm</button></form>"""
_DONE: Final = "<h1>Confirmed</h1><p>The device is logged in. You can close this page.</p>"


class DeviceHandlers:
    """The log-in of devices."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._devices = services.devices
        self._identity = services.identity

    async def begin(self, call: Call) -> None:
        """Begin a log-in and tell both codes."""
        codes = await self._devices.begin()
        view = {
            "device_code": codes.device_code,
            "user_code": codes.user_code,
            "expires_in": int(codes.lifetime.total_seconds()),
            "interval": POLL_SECONDS,
        }
        await send_json(call, view)

    async def poll(self, call: Call) -> None:
        """Tell whether somebody confirmed; the client takes `user_id` as yes."""
        user = await self._devices.approved_by(call.params["code"])
        if user is None:
            await send_json(call, {"status": "pending"})
            return
        await send_json(call, {"status": "authorized", "user_id": user.id})

    async def token(self, call: Call) -> None:
        """Give the device its token, once."""
        body = await reading.read_object(call)
        made, secret = await self._devices.exchange(reading.text(body, "device_code", most=256))
        lifetime = 0 if made.expires_at is None else int((made.expires_at - utc_now()).total_seconds())
        await send_json(
            call, {"access_token": secret, "token_type": "bearer", "expires_in": max(0, lifetime)}
        )

    async def page(self, call: Call) -> None:
        """Show the form."""
        await _send_page(call, 200, _asking(reading.one(reading.query(call), "code") or "", ""))

    async def confirm(self, call: Call) -> None:
        """Confirm: by the form with a token in it, or by JSON with a credential beside it."""
        kind = (header(call, b"content-type") or "").split(";")[0].strip().lower()
        if kind != _FORM:
            body = await reading.read_object(call)
            await self._confirm(reading.credential(call.scope), reading.text(body, "user_code", most=32))
            await send_json(call, {"status": "authorized"})
            return
        code, token = await _form(call)
        try:
            await self._confirm(token, code)
        except (Unauthenticated, NotFound, PermissionDenied, InvalidArgument) as error:
            await _send_page(call, _status(error), _asking(code, error.message))
            return
        await _send_page(call, 200, _DONE)

    async def _confirm(self, secret: str, user_code: str) -> None:
        await self._devices.approve(await self._identity.authenticate(secret), user_code)


async def _form(call: Call) -> tuple[str, str]:
    try:
        found = parse_qs((await read_body(call)).decode("ascii"), max_num_fields=16)
    except (UnicodeDecodeError, ValueError):
        raise InvalidArgument("the form is not valid") from None
    return found.get("code", [""])[0][:64], found.get("token", [""])[0].strip()


def _asking(code: str, fault: str) -> str:
    shown = f'<p class="bad" role="alert">{html.escape(fault)}</p>' if fault else ""
    return _ASK.format(code=html.escape(code[:32], quote=True), fault=shown)


def _status(error: RunyardError) -> int:
    known: dict[str, int] = {"unauthenticated": 401, "not_found": 404, "permission_denied": 403}
    return known.get(error.code, 400)


async def _send_page(call: Call, status: int, body: str) -> None:
    page: Any = _PAGE.format(body=body)
    await send_answer(call, Answer(status, page.encode(), "text/html; charset=utf-8", _PAGE_HEADERS))
