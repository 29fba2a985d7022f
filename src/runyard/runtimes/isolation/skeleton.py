"""The root folder and the masks of the base `host`. Owns what of the host's /etc is shown and what of /usr is hidden.

The rule: root inside sees nothing that the user `nobody` could not read on the host, no identity of the host (keys,
machine id, accounts) and no setting that tends to carry a credential. Blocking; called in threads.
"""

import contextlib
import ipaddress
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ETC = (
    "alternatives", "bindresvport.blacklist", "ca-certificates", "ca-certificates.conf", "debian_version",
    "ethertypes", "fonts", "gai.conf", "groff", "host.conf", "inputrc", "java-*", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "libaudit.conf", "locale.alias", "locale.conf", "localtime", "login.defs", "magic",
    "magic.mime", "mailcap", "manpath.config", "maven", "mime.types", "nanorc", "networks", "nsswitch.conf",
    "os-release", "pam.conf", "pam.d", "perl", "protocols", "python3*", "rmt", "rpc", "services", "shells", "skel", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone", "vim", "xattr.conf",
    "xdg", "xml", "pki/tls/certs", "pki/ca-trust", "crypto-policies", "redhat-release", "alpine-release",
)  # fmt: skip
_LINKED_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FOLDERS = {
    "dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "run/lock": 0o1777, "tmp": 0o1777, "usr": 0o755,
    "var": 0o755, "var/tmp": 0o1777, "var/cache": 0o755, "var/lib": 0o755, "var/log": 0o755, "var/mail": 0o2775,
    "var/opt": 0o755, "var/spool": 0o755, "var/local": 0o2775, "home": 0o755, "root": 0o700, "opt": 0o755,
    "srv": 0o755, "mnt": 0o755, "media": 0o755, "etc": 0o755, "etc/profile.d": 0o755, "etc/ssl": 0o755,
    "var/lib/dpkg": 0o755, "var/lib/dpkg/info": 0o755, "var/lib/dpkg/updates": 0o755, "var/log/apt": 0o755,
    "var/lib/apt": 0o755, "var/lib/apt/lists": 0o755, "var/cache/apt": 0o755, "etc/apt": 0o755,
}  # fmt: skip
_LOCAL_FOLDERS = ("bin", "etc", "games", "include", "lib", "sbin", "share", "src")
_MAX_FILE = 8 << 20

_ACCOUNTS = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
games:x:5:60:games:/usr/games:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
news:x:9:9:news:/var/spool/news:/usr/sbin/nologin
uucp:x:10:10:uucp:/var/spool/uucp:/usr/sbin/nologin
proxy:x:13:13:proxy:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
list:x:38:38:Mailing List Manager:/var/list:/usr/sbin/nologin
irc:x:39:39:ircd:/run/ircd:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = (
    "root:0 daemon:1 bin:2 sys:3 adm:4 tty:5 disk:6 lp:7 mail:8 news:9 uucp:10 man:12 proxy:13 kmem:15 dialout:20 "
    "fax:21 voice:22 cdrom:24 floppy:25 tape:26 sudo:27 audio:29 dip:30 www-data:33 backup:34 operator:37 list:38 "
    "irc:39 src:40 shadow:42 utmp:43 video:44 sasl:45 plugdev:46 staff:50 games:60 users:100 nogroup:65534"
)
_PROFILE = f"""# Read by login shells.
export PATH={PATH}
if [ "${{PS1-}}" ]; then
  if [ "${{BASH-}}" ] && [ "$BASH" != /bin/sh ] && [ -r /etc/bash.bashrc ]; then
    . /etc/bash.bashrc
  elif [ "$(id -u)" -eq 0 ]; then
    PS1='# '
  else
    PS1='$ '
  fi
fi
for i in /etc/profile.d/*.sh; do
  if [ -r "$i" ]; then
    . "$i"
  fi
done
unset i
"""
_BASHRC = """# Read by interactive bash.
[ -z "${PS1-}" ] && return
shopt -s checkwinsize
PS1='\\u@\\h:\\w\\$ '
"""
_ROOT_PROFILE = """if [ "$BASH" ] && [ -f ~/.bashrc ]; then
  . ~/.bashrc
fi
"""
_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""


def build_root(target: Path, host: Path, uid_base: int, nameservers: Sequence[str]) -> None:
    """Fill the new folder `target` with the root file system's skeleton, `host` being the host's root folder.
    Everything belongs to root inside. Raises OSError, and ValueError when the host has no merged /usr.
    """
    _make_folders(target)
    for name in _LINKED_FOLDERS:
        source = host / name
        if source.is_symlink():
            (target / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            raise ValueError(f"/{name} of this host is not a link into /usr")
    for name, destination in (
        ("var/run", "/run"),
        ("var/lock", "/run/lock"),
        ("etc/mtab", "/proc/self/mounts"),
    ):
        (target / name).symlink_to(destination)
    for pattern in _ETC:
        for source in sorted((host / "etc").glob(pattern)):
            copy_readable(source, target / "etc" / source.relative_to(host / "etc"))
    _write_accounts(target / "etc")
    write_network_files(target / "etc", nameservers)
    _write(target / "etc/profile", _PROFILE)
    _write(target / "etc/bash.bashrc", _BASHRC)
    # Empty, for what reads them: the host's own tend to carry settings that are nobody's business inside.
    for name in ("motd", "environment", "security/limits.conf", "security/pam_env.conf"):
        _parent(target / "etc" / name)
        _write(target / "etc" / name, "")
    _write(target / "var/lib/dpkg/status", "")
    for name, text in ((".profile", _ROOT_PROFILE), (".bashrc", _BASHRC)):
        original = host / "usr/share/base-files" / f"dot{name}"
        _write(target / "root" / name, original.read_text() if original.is_file() else text)
    give_to_root(target, uid_base)
    os.chown(target / "etc/shadow", uid_base, uid_base + 42)


def write_network_files(etc: Path, nameservers: Sequence[str]) -> None:
    """Write resolv.conf and hosts."""
    _write(etc / "resolv.conf", "".join(f"nameserver {server}\n" for server in nameservers))
    _write(etc / "hosts", _HOSTS)


def build_overlay_top(target: Path, uid_base: int, nameservers: Sequence[str]) -> None:
    """Fill the new folder `target` with what every foreign root file system needs on top: mount points, resolver."""
    for name in ("dev", "proc", "sys", "etc"):
        (target / name).mkdir(parents=True)
        (target / name).chmod(0o755)
    target.chmod(0o755)
    write_network_files(target / "etc", nameservers)
    give_to_root(target, uid_base)


def opaque_below_usr(hidden: Iterable[str]) -> set[str]:
    """Return those of `hidden` (paths as seen inside) that are below /usr, relative to it."""
    return {path.removeprefix("/usr").strip("/") for path in hidden if path.startswith("/usr/")}


def build_usr_mask(
    target: Path, usr: Path, uid_base: int, opaque: Iterable[str], unreadable: Iterable[Path]
) -> None:
    """Fill the new folder `target` with what hides parts of `usr`, by paths relative to it: an opaque empty folder for
    each of `opaque`, a whiteout for each of `unreadable`.
    """
    target.mkdir(parents=True, exist_ok=True)
    _copy_folder(usr, target, uid_base)
    for name in sorted(opaque):
        _mask_parents(usr, target, Path(name).parent, uid_base)
        folder = target / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
        if name == "local":
            for child in _LOCAL_FOLDERS:
                (folder / child).mkdir()
                (folder / child).chmod(0o755)
        give_to_root(folder, uid_base)
    for path in unreadable:
        _mask_parents(usr, target, path.parent, uid_base)
        os.mknod(target / path, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def copy_readable(source: Path, target: Path) -> None:
    """Copy files, folders and links that everybody may read; leave out all else, and files above 8 MiB."""
    try:
        mode = source.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        _parent(target)
        with contextlib.suppress(FileExistsError):
            target.symlink_to(os.readlink(source))
    elif stat.S_ISDIR(mode) and mode & 0o5 == 0o5:
        _parent(target)
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
        for entry in os.scandir(source):
            copy_readable(Path(entry.path), target / entry.name)
    elif stat.S_ISREG(mode) and mode & 0o4 and source.stat().st_size <= _MAX_FILE:
        _parent(target)
        shutil.copyfile(source, target)
        target.chmod(mode & 0o755)


def give_to_root(folder: Path, uid_base: int) -> None:
    """Make root inside the owner of a tree."""
    os.chown(folder, uid_base, uid_base, follow_symlinks=False)
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(os.path.join(parent, name), uid_base, uid_base, follow_symlinks=False)


def host_nameservers(resolv_files: Sequence[Path]) -> list[str]:
    """Return the resolvers of the first file that names one which is not loopback: those work from elsewhere too."""
    for path in resolv_files:
        found = []
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) >= 2 and words[0] == "nameserver" and _is_usable(words[1]):
                    found.append(words[1])
        if found:
            return found[:3]
    return []


def _is_usable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.version == 4 and not parsed.is_loopback and not parsed.is_unspecified


def _make_folders(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o755)
    for name, mode in _FOLDERS.items():
        (target / name).mkdir()
        (target / name).chmod(mode)


def _write_accounts(etc: Path) -> None:
    _write(etc / "passwd", _ACCOUNTS)
    _write(etc / "group", "".join(f"{name.replace(':', ':x:')}:\n" for name in _GROUPS.split()))
    names = [line.split(":", 1)[0] for line in _ACCOUNTS.splitlines()]
    # Locked, all of them: a password would be of no use inside.
    _write(etc / "shadow", "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names))
    (etc / "shadow").chmod(0o640)


def _mask_parents(usr: Path, target: Path, relative: Path, uid_base: int) -> None:
    # A folder of the mask shows its own owner and mode, so they must be those of what it covers.
    done = Path()
    for part in relative.parts:
        done = done / part
        if not (target / done).exists():
            (target / done).mkdir()
            _copy_folder(usr / done, target / done, uid_base)


def _copy_folder(source: Path, target: Path, uid_base: int) -> None:
    status = source.stat()
    target.chmod(stat.S_IMODE(status.st_mode))
    # Through an id-mapped mount the ids are shifted already.
    uid, gid = (value if value >= uid_base else value + uid_base for value in (status.st_uid, status.st_gid))
    os.chown(target, uid, gid)


def _parent(path: Path) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask


def _write(path: Path, text: str) -> None:
    # Never through a link that was copied from the host.
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_text(text)
    path.chmod(0o644)
