#!/bin/sh
# Lists processes of which one column fits a pattern. Arguments: column pattern
set -eu
case $1 in
    state) column=2 ;;
    pid) column=1 ;;
    *) column=3 ;;
esac
ps -eo pid=,stat=,comm= | awk -v column="$column" -v pattern="$2" '$column ~ pattern { print; found = 1 } END { exit !found }'
