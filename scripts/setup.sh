#!/usr/bin/env bash
# Brings a fresh machine to the point where `make run` and `make test` work: system packages (as root on Debian),
# uv from PyPI, and the locked Python dependencies. Quick and silent when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.9
say() { printf 'setup: %s\n' "$*" >&2; }

# command or file that shows that a package is there : Debian package : what it is for
packages=(
  "cc|gcc|the sandbox agent is compiled from C"
  "/usr/include/stdio.h|libc6-dev|the sandbox agent is compiled from C"
  "musl-gcc|musl-tools|the sandbox agent is linked statically"
  "mkfs.btrfs|btrfs-progs|bounded writable layers and checkpoints"
  "nft|nftables|outgoing network of runtimes"
  "wget|wget|health checks of tasks whose image the host stands for"
  "curl|curl|the tests ask services from inside environments"
  "ip|iproute2|the tests lay out networks of their own"
  "git|git|checkout of the code of workspaces"
  "ssh|openssh-client|checkout over ssh"
  "/usr/lib/postgresql/*/bin/initdb|postgresql|the tests run on PostgreSQL too"
  "/usr/sbin/sshd|openssh-server|the tests run remote actions on a real host"
  "sudo|sudo|the tests run remote actions as another user"
)
if [ "${1:-}" = "--bench" ]; then
  packages+=(
    "bwrap|bubblewrap|a peer of the benchmark"
  )
fi

present() {
  case "$1" in
    /*) compgen -G "$1" > /dev/null ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" > /dev/null ;;
  esac
}

missing=()
for entry in "${packages[@]}"; do
  IFS='|' read -r probe package reason <<< "$entry"
  if ! present "$probe"; then
    missing+=("$package")
    say "missing Debian package $package ($reason)"
  fi
done

python_ok() { "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2> /dev/null; }
python=""
for candidate in "${RUNYARD_PYTHON:-}" python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
  if [ -n "$candidate" ] && command -v "$candidate" > /dev/null && python_ok "$candidate"; then
    python=$(command -v "$candidate")
    break
  fi
done
[ -n "$python" ] || missing+=(python3)
if [ ! -x .cache/tools/bin/uv ] && { [ -z "$python" ] || ! "$python" -c 'import ensurepip' 2> /dev/null; }; then
  missing+=(python3-venv)
  say "missing Debian package python3-venv (uv is installed into an environment of its own)"
fi

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    say "installing ${missing[*]}"
    # A database server that starts by itself would take a port and memory that nobody asked for.
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p .cache
    {
      apt-get update -qq
      if [ -d /etc/postgresql-common ] || mkdir -p /etc/postgresql-common; then
        grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf ||
          echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf
      fi
      apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
    } > .cache/apt.log 2>&1 || { cat .cache/apt.log >&2; say "apt-get failed, see above"; exit 1; }
    [ -n "$python" ] || python=$(command -v python3)
  elif [ -z "$python" ] || [ ! -x .cache/tools/bin/uv ] && ! "$python" -c 'import ensurepip' 2> /dev/null; then
    say "Python 3.11 or later with venv is needed; as root run: apt-get install python3 python3-venv"
    exit 1
  else
    say "going on without them; as root run: apt-get install ${missing[*]}"
  fi
fi

if [ ! -x .cache/tools/bin/uv ]; then
  say "installing uv"
  mkdir -p .cache
  "$python" -m venv .cache/tools
  .cache/tools/bin/python -m pip install --quiet --disable-pip-version-check "uv>=$uv_version"
fi

export UV_PYTHON_DOWNLOADS=never
if [ -x .venv/bin/python ]; then
  .cache/tools/bin/uv sync --frozen --all-extras --quiet
else
  .cache/tools/bin/uv sync --frozen --all-extras --quiet --python "$python"
fi
