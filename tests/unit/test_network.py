"""Addresses and rules of the way out, without touching the host's network."""

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from runyard.kernel.errors import LimitExceeded
from runyard.runtimes.isolation.engine import CannotEnforce
from runyard.runtimes.isolation.network import Attachment, Uplink
from runyard.runtimes.isolation.options import IsolationOptions


def uplink(
    cidr: str = "10.83.0.0/16", *, block_private: bool = False, nameservers: tuple[str, ...] = ()
) -> Uplink:
    options = IsolationOptions(data_dir=Path("/nowhere"), network_cidr=cidr, block_private=block_private)
    return Uplink(options, nameservers)


async def test_attach_before_start_is_refused_and_explained() -> None:
    one = uplink()
    with pytest.raises(CannotEnforce, match="not started"):
        await one.attach("box", 1, 0)
    assert not one.capability().enforced
    assert one.capability().fix


def test_pairs_are_used_in_turn_and_given_back_last() -> None:
    one = uplink("10.83.0.0/28")
    assert [one._take() for _ in range(3)] == [0, 1, 2]
    one.release(Attachment("rny-1", IPv4Interface("10.83.0.6/30"), IPv4Address("10.83.0.5")))
    assert one._take() == 3
    assert one._take() == 1
    with pytest.raises(LimitExceeded):
        one._take()


def test_rules_name_only_this_installation() -> None:
    rules = uplink().rules()
    assert rules.count("rny891") == 0
    table = rules.split()[2]
    assert table.startswith("runyard_")
    assert f"delete table inet {table}" in rules
    assert "flush ruleset" not in rules


def test_rules_allow_private_ranges_unless_told_otherwise() -> None:
    assert "192.168.0.0/16" not in uplink().rules()
    assert "192.168.0.0/16" in uplink(block_private=True).rules()


def test_rules_let_resolvers_through_before_ranges_are_refused() -> None:
    rules = uplink(block_private=True, nameservers=("169.254.169.253",)).rules()
    assert rules.index("169.254.169.253") < rules.index("169.254.0.0/16") < rules.index("10.0.0.0/8")


def test_resolvers_that_are_no_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match="evil"):
        uplink(nameservers=("evil } accept",))


def test_interface_names_fit_the_kernel() -> None:
    one = uplink("10.0.0.0/8")
    assert len(f"{one._prefix}{(1 << 22) - 1:x}") <= 15
