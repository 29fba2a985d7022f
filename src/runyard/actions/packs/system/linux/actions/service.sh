#!/bin/sh
# Starts, stops or shows a service. Arguments: verb service
set -eu
if command -v systemctl > /dev/null; then
    exec systemctl "$1" -- "$2"
fi
exec service "$2" "$1"
