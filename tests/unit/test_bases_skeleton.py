"""The skeleton of the base `host`: what of a host it shows."""

import os
import stat
from pathlib import Path

import pytest

from runyard.runtimes.isolation import skeleton

ME = os.getuid()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    host = tmp_path / "host"
    for name in (
        "usr/bin",
        "usr/lib",
        "usr/share/base-files",
        "etc/ssl/certs",
        "etc/ssl/private",
        "etc/alternatives",
    ):
        (host / name).mkdir(parents=True)
    for name in ("bin", "lib"):
        (host / name).symlink_to(f"usr/{name}")
    (host / "usr/share/base-files/dot.profile").write_text("# of the distribution\n")
    (host / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (host / "etc/ssl/certs/ca.crt").write_text("public")
    (host / "etc/ssl/certs/own.key").write_text("secret")
    (host / "etc/ssl/certs/own.key").chmod(0o640)
    (host / "etc/services").write_text("ssh 22/tcp\n")
    (host / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    for name in (
        "shadow",
        "passwd",
        "machine-id",
        "hostname",
        "environment",
        "npmrc",
        "netrc",
        "gitconfig",
        "profile",
    ):
        (host / "etc" / name).write_text("of the host: secret")
    return host


def test_root_shows_public_settings_and_no_identity_of_the_host(host: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    skeleton.build_root(root, host, ME, ["192.0.2.53"])
    assert os.readlink(root / "etc/alternatives/awk") == "/usr/bin/mawk"
    assert (root / "etc/ssl/certs/ca.crt").read_text() == "public"
    assert (root / "etc/services").exists()
    for name in ("etc/ssl/certs/own.key", "etc/ssl/private", "etc/machine-id", "etc/hostname", "etc/npmrc"):
        assert not (root / name).exists()
    texts = [path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(b"secret" in text for text in texts)


def test_root_has_accounts_profile_and_resolver_of_its_own(host: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    skeleton.build_root(root, host, ME, ["192.0.2.53"])
    assert (root / "etc/passwd").read_text().splitlines()[0] == "root:x:0:0:root:/root:/bin/bash"
    assert (root / "etc/shadow").read_text().startswith("root:*:")
    assert stat.S_IMODE((root / "etc/shadow").stat().st_mode) == 0o640
    assert f"PATH={skeleton.PATH}" in (root / "etc/profile").read_text()
    assert (root / "etc/resolv.conf").read_text() == "nameserver 192.0.2.53\n"
    assert not (root / "etc/resolv.conf").is_symlink()
    assert (root / "root/.profile").read_text() == "# of the distribution\n"
    assert os.readlink(root / "bin") == "usr/bin"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "root").stat().st_mode) == 0o700


def test_root_modes_do_not_depend_on_the_umask(host: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        skeleton.build_root(tmp_path / "root", host, ME, [])
        skeleton.build_overlay_top(tmp_path / "top", ME, [])
    finally:
        os.umask(old)
    for name in (
        "root",
        "root/etc",
        "root/etc/ssl",
        "root/etc/ssl/certs",
        "root/etc/alternatives",
        "top",
        "top/etc",
    ):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o755, name
    assert stat.S_IMODE((tmp_path / "root/etc/passwd").stat().st_mode) == 0o644


def test_root_without_merged_usr_is_refused(host: Path, tmp_path: Path) -> None:
    (host / "sbin").mkdir()
    with pytest.raises(ValueError, match="/sbin"):
        skeleton.build_root(tmp_path / "root", host, ME, [])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("nameserver 192.0.2.1\nnameserver 127.0.0.1\n", "", ["192.0.2.1"]),
        ("nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.2\n", ["192.0.2.2"]),
        ("nameserver ::1\nnameserver fd00::1\nnameserver junk\nnameserver\n", "", []),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)),
            "",
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        ),
    ],
)
def test_nameservers_skip_loopback(tmp_path: Path, first: str, second: str, expected: list[str]) -> None:
    (tmp_path / "one").write_text(first)
    (tmp_path / "two").write_text(second)
    files = [tmp_path / "missing", tmp_path / "one", tmp_path / "two"]
    assert skeleton.host_nameservers(files) == expected
