"""The vault: sealing, contexts, tampering, rotation, and the file it keeps its keys in."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.kernel.crypto import CannotUnseal, KeyRingBroken, Vault


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=200), context=st.binary(max_size=20))
def test_vault_any_value_opens_with_its_context_only(tmp_path: Path, value: bytes, context: bytes) -> None:
    vault = Vault(tmp_path / "keys.json")
    sealed = vault.seal(value, context)
    assert vault.open(sealed, context) == value
    assert len(value) < 8 or value not in sealed
    with pytest.raises(CannotUnseal):
        vault.open(sealed, context + b"x")


@given(place=st.integers(0, 60), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_vault_any_flipped_bit_is_noticed(tmp_path: Path, place: int, bit: int) -> None:
    vault = Vault(tmp_path / "keys.json")
    sealed = bytearray(vault.seal(b"thirty-two bytes of secret value", b"ctx"))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises(CannotUnseal):
        vault.open(bytes(sealed), b"ctx")


def test_vault_truncated_value_is_noticed(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "keys.json")
    sealed = vault.seal(b"value", b"")
    for length in range(len(sealed)):
        with pytest.raises(CannotUnseal):
            vault.open(sealed[:length], b"")


def test_vault_first_start_makes_a_private_file_that_later_starts_use(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    sealed = Vault(path).seal(b"value", b"c")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Vault(path).open(sealed, b"c") == b"value"


def test_vault_rotation_keeps_old_values_open_until_they_are_sealed_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    vault = Vault(path)
    old = vault.seal(b"value", b"c")
    assert not vault.needs_reseal(old)
    first = vault.current_key
    assert vault.rotate() != first
    again = Vault(path)
    assert again.open(old, b"c") == b"value"
    assert again.needs_reseal(old)
    resealed = again.reseal(old, b"c")
    assert not again.needs_reseal(resealed)
    again.forget_old()
    last = Vault(path)
    assert last.open(resealed, b"c") == b"value"
    with pytest.raises(CannotUnseal):
        last.open(old, b"c")


def test_vault_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    Vault(path)
    path.chmod(0o644)
    with pytest.raises(KeyRingBroken, match="chmod 600"):
        Vault(path)


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', '{"keys": [{"id": "zz", "key": "!"}]}', "[1]"])
def test_vault_broken_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyRingBroken):
        Vault(path)
    assert path.read_text() == content
