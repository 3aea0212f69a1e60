#!/bin/bash
# A crontab by hand:  crontab.sh TEMPLATE INSTALL_DIR start|stop
#
# drcm: done in process
# (The daemon does this itself and watches it. Take the line above out, and it runs this script.)
#
# Installs TEMPLATE in INSTALL_DIR (/etc/cron.d) under its own name, with a first line that says whose it
# is; stop removes it only if that line is there, or if it is an unchanged copy of the template.
set -u

usage() { echo "usage: ${0##*/} TEMPLATE INSTALL_DIR start|stop" >&2; exit 2; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

[ $# -eq 3 ] || usage
template=$1 directory=$2 action=$3
name=${template##*/}
installed=$directory/$name
mark="# Managed by drcm: edit the template "

ours() { [[ $(head -n 1 "$installed") == "$mark"* ]] || cmp -s "$template" "$installed"; }

if [ -e "$installed" ] && ! ours; then
    fail "$installed: exists and is not drcm's: left alone"
fi
case $action in
start)
    [[ $name =~ ^[A-Za-z0-9_-]+$ ]] || fail "$name: cron ignores a file of that name"
    [ -r "$template" ] || fail "$template: no such crontab template"
    beside=$directory/.$name.drcm # cron ignores names with a dot
    # sed ends the last line where the template does not: cron ignores an unfinished one
    { echo "$mark$template" && sed -e '$a\' "$template"; } >"$beside" && chmod 0644 "$beside" &&
        mv -f "$beside" "$installed" || fail "can't install $installed"
    ;;
stop) rm -f "$installed" || fail "can't remove $installed" ;;
*) usage ;;
esac
