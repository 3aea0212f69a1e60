#!/bin/bash
# A floating IP address by whole interface files, for network-scripts (ifcfg files):
#     ipv4addr_copy_config.sh IP NETMASK INTERFACE start|stop
#
# Installs /etc/drcm/my_cluster_conf/HOST_start_backup_ip_INTERFACE or HOST_stop_backup_ip_INTERFACE
# (HOST = hostname -s), which you prepare, and applies it. INTERFACE may be 'ens192|eno8303': the first
# that exists here. Exit 0: done, or nothing to do. DRCM_CLUSTER_CONF moves the folder.
set -u

usage() { echo "usage: ${0##*/} IP NETMASK INTERFACE start|stop" >&2; exit 2; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

[ $# -eq 4 ] || usage
ip=$1 interfaces=$3 action=$4
case $action in start | stop) ;; *) usage ;; esac

find_interface() {
    local -a names
    IFS='|' read -r -a names <<<"${interfaces//\'/}"
    for device in "${names[@]}"; do
        device=${device%%:*}
        ip link show dev "$device" >/dev/null 2>&1 && return 0
    done
    return 1
}

apply() {
    timeout -k 2 30 ifdown "$device" >/dev/null 2>&1
    timeout -k 2 30 ifup "$device" || fail "ifup $device failed"
}

find_interface || fail "no interface $interfaces on this node"
source=${DRCM_CLUSTER_CONF:-/etc/drcm/my_cluster_conf}/$(hostname -s)_${action}_backup_ip_$device
target=/etc/sysconfig/network-scripts/ifcfg-$device
[ -s "$source" ] || fail "$source: no such file, or empty"

present() { [ -n "$(ip -o address show dev "$device" to "$ip")" ]; }
if cmp -s "$source" "$target"; then
    case $action in start) present && exit 0 ;; stop) present || exit 0 ;; esac
else
    install -m 0644 "$source" "$target.drcm" && mv -f "$target.drcm" "$target" || fail "can't install $target"
fi
apply
