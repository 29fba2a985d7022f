#!/bin/sh
# Shows the way to a host. Arguments: host max_hops queries
set -eu
if command -v traceroute > /dev/null; then
    exec traceroute -m "$2" -q "$3" -- "$1"
fi
exec tracepath -m "$2" "$1"
