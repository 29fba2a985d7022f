#!/bin/sh
# Prints the load; fails when it is above a threshold. Arguments: period threshold
set -eu
read -r one five fifteen rest < /proc/loadavg
case $1 in
    1) loads=$one ;;
    5) loads=$five ;;
    15) loads=$fifteen ;;
    *) loads="$one $five $fifteen" ;;
esac
printf '{"1": %s, "5": %s, "15": %s}\n' "$one" "$five" "$fifteen"
[ -n "${2:-}" ] || exit 0
for load in $loads; do
    awk -v load="$load" -v threshold="$2" 'BEGIN { exit load > threshold }' || exit 1
done
