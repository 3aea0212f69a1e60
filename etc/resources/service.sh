#!/bin/bash
# A system service:  service.sh NAME start|stop|restart|reload|watch|status
#
# watch: start it if it does not run. Uses systemctl, or service where there is no systemd.
# Exit 0: done; status: 0 = it runs.
set -u

usage() { echo "usage: ${0##*/} NAME start|stop|restart|reload|watch|status" >&2; exit 2; }

[ $# -eq 2 ] || usage
name=$1 action=$2

if [ -d /run/systemd/system ]; then
    control() { systemctl "$1" "$name"; }
    running() { systemctl --quiet is-active "$name"; }
else
    control() { service "$name" "$1"; }
    running() { service "$name" status >/dev/null 2>&1; }
fi

case $action in
start) running || control start ;;
stop) control stop ;;
restart | reload) control "$action" ;;
status) running ;;
watch)
    running && exit 0
    echo "${0##*/}: $name does not run: restarting it" >&2
    control restart && running
    ;;
*) usage ;;
esac
