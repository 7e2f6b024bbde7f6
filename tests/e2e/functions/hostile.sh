#!/bin/sh
# What a hostile executable may try; `deed` says which.
deed=$(printf '%s' "$1" | sed -n 's/.*"deed":"\([a-z_]*\)".*/\1/p')
case $deed in
  exit) exit 3 ;;
  spin) while :; do :; done ;;
  idle) sleep 600 ;;
  fork)
    # The shell that cannot fork ends; its children stay.
    (i=0; while [ $i -lt 10000 ]; do sleep 600 & i=$((i + 1)); done; touch /tmp/free) 2>/dev/null
    if [ -e /tmp/free ]; then echo '{"contained":false}'; else echo '{"contained":true}'; fi ;;
  memory) hoard=x; while :; do hoard=$hoard$hoard; done ;;
  fill) head -c 4G /dev/zero 2>/dev/null >/tmp/full && echo '{"code":"none"}' || echo '{"code":"ENOSPC"}' ;;
  files) (ulimit -n) | sed 's/.*/{"opened":&,"code":"EMFILE"}/' ;;
  flood_log) yes "$(head -c 1023 /dev/zero | tr '\0' x)" | head -c 1G; echo; echo '{"megabytes":1024}' ;;
  flood_line) head -c 1G /dev/zero | tr '\0' x ;;
  kill_parent) kill -9 $PPID; sleep 600 ;;
  kill_all) kill -9 -1; sleep 600 ;;
  *) echo '{"calm":true}' ;;
esac
