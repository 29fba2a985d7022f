"""Every operation of the StackStorm door is asked for by a permission type, so that roles reach all of it."""

from runyard.actions.access.model import RESOURCE_OF
from runyard.dialects.stackstorm import routes
from runyard.dialects.stackstorm.granting import ADMINS, ANYBODY, OWN_KEYS, PERMISSIONS
from tests.fakes.doors import Anything

DOOR = routes.register(Anything())  # type: ignore[arg-type]


def test_every_route_has_a_permission_type_or_is_for_anybody_or_for_administrators() -> None:
    names = {route.name for route in DOOR.routes if route.status != 501}
    admins = {name for name in names if name.startswith(tuple(ADMINS))}
    assert names - set(PERMISSIONS) - ANYBODY - admins == set()
    assert not set(PERMISSIONS) & (ANYBODY | admins)
    assert set(PERMISSIONS) <= names
    assert set(PERMISSIONS) >= OWN_KEYS
    assert set(PERMISSIONS.values()) <= set(RESOURCE_OF)


def test_every_route_with_a_permission_type_names_what_the_token_must_allow() -> None:
    for route in DOOR.routes:
        if route.name in PERMISSIONS:
            assert route.permission is not None, route.name
