"""Webhooks: destinations, signatures, tries."""

from datetime import UTC, datetime, timedelta

import pytest

from runyard.infrastructure.notifications.destinations import DestinationOptions, check, resolve
from runyard.infrastructure.notifications.errors import DestinationRefused
from runyard.infrastructure.notifications.model import MAX_ATTEMPTS, Delivery, DeliveryId, after_attempt
from runyard.infrastructure.notifications.signing import signature, verify
from runyard.kernel.addresses import is_public
from runyard.kernel.ids import AccountId

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "example.com",
        "http://",
        "http://user:password@example.com/",
        "http://127.0.0.1/",
        "http://[::1]:8080/",
        "http://169.254.169.254/latest/meta-data",
        "http://example.com/ x",
        "http://exämple.com/",
        "http://example.com:99999/",
        "http://" + "a" * 3000,
        "http://[::1",
    ],
)
def test_destination_that_is_not_for_webhooks_is_refused(url: str) -> None:
    with pytest.raises(DestinationRefused):
        check(url, DestinationOptions())


def test_list_of_hosts_decides_alone() -> None:
    chosen = DestinationOptions(allowed_hosts=("hooks.example.com", "*.inside", "10.0.0.7"))
    for url in (
        "https://hooks.example.com/a",
        "http://x.inside:8080/",
        "http://10.0.0.7/",
        "http://HOOKS.example.com./",
    ):
        check(url, chosen)
    for url in ("https://example.com/", "http://hooks.example.com.evil.org/", "http://10.0.0.70/"):
        with pytest.raises(DestinationRefused, match="not one of the allowed hosts"):
            check(url, chosen)


async def test_name_that_leads_to_a_private_address_is_refused_and_the_judged_address_is_used() -> None:
    with pytest.raises(DestinationRefused, match="private address"):
        await resolve("http://localhost:8080/x", DestinationOptions())
    target = await resolve("http://localhost:8080/x?y=1", DestinationOptions(allow_private=True))
    assert target.url in ("http://127.0.0.1:8080/x?y=1", "http://[::1]:8080/x?y=1")
    assert (target.host, target.authority) == ("localhost", "localhost:8080")


def test_signature_is_right_for_its_body_key_and_time_only() -> None:
    header = signature(b"key", NOW, b"body")
    assert verify(b"key", header, b"body", NOW)
    assert not verify(b"other", header, b"body", NOW)
    assert not verify(b"key", header, b"bodies", NOW)
    assert not verify(b"key", header, b"body", NOW + timedelta(minutes=6))
    assert not verify(b"key", "nonsense", b"body", NOW)


def delivery() -> Delivery:
    """Make a delivery that waits."""
    return Delivery(
        id=DeliveryId.new(),
        notification_id="0" * 24,
        account_id=AccountId.new(),
        event="guardrail.violated",
        run_id="",
        body=b"{}",
        status="waiting",
        attempts=0,
        next_at=NOW,
        created_at=NOW,
    )


def test_failed_delivery_is_tried_at_growing_distances_and_given_up() -> None:
    one, now, waits = delivery(), NOW, []
    while one.status == "waiting":
        one = after_attempt(one, now, 500, "answered 500")
        if one.next_at is not None:
            waits.append(one.next_at - now)
            now = one.next_at
    assert (one.status, one.attempts, one.ended_at) == ("given_up", MAX_ATTEMPTS, now)
    assert waits == sorted(waits)
    assert timedelta(hours=1) < sum(waits, timedelta()) < timedelta(hours=4)
    assert after_attempt(delivery(), NOW, 204, "").status == "delivered"
    assert after_attempt(delivery(), NOW, None, "refused", final=True).status == "given_up"
