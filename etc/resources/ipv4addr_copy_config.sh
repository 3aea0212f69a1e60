#!/bin/bash
# A floating IP address by whole interface files, for network-scripts (ifcfg files):
#     ipv4addr_copy_config.sh IP NETMASK INTERFACE start|stop
# ipv4addr_copy_nmcli.sh is this script for NetworkManager's connection files.
#
# Installs /etc/drcm/my_cluster_conf/HOST_start_backup_ip_INTERFACE or HOST_stop_backup_ip_INTERFACE
# (HOST = hostname -s), which you prepare, and applies it. INTERFACE may be 'ens192|eno8303': the first
# that exists here. Exit 0: done, or nothing to do. DRCM_CLUSTER_CONF moves the folder.
. "$(dirname "$(readlink -f "$0")")/functions.bash"
set -u

usage() { echo "usage: $me IP NETMASK INTERFACE start|stop" >&2; exit 2; }

[ $# -eq 4 ] || usage
ip=$1 action=$4
case $action in start | stop) ;; *) usage ;; esac

apply() {
    if [ -n "${DRCM_NMCLI:-}" ]; then
        limited 20 nmcli connection load "$target" || fail "NetworkManager does not take $target"
        limited 20 nmcli device reapply "$device" || limited 20 nmcli connection up "$device" ||
            fail "can't apply the connection $device"
    else
        limited 30 ifdown "$device" >/dev/null 2>&1
        limited 30 ifup "$device" || fail "ifup $device failed"
    fi
}

find_interface "$3"
source=${DRCM_CLUSTER_CONF:-/etc/drcm/my_cluster_conf}/$(hostname -s)_${action}_backup_ip_$device
if [ -n "${DRCM_NMCLI:-}" ]; then
    target=/etc/NetworkManager/system-connections/$device.nmconnection mode=0600 # it may hold secrets
else
    target=/etc/sysconfig/network-scripts/ifcfg-$device mode=0644
fi
[ -s "$source" ] || fail "$source: no such file, or empty"

if cmp -s "$source" "$target"; then
    case $action in start) present "$ip" && exit 0 ;; stop) present "$ip" || exit 0 ;; esac
else
    install -m "$mode" "$source" "$target.drcm" && mv -f "$target.drcm" "$target" || fail "can't install $target"
fi
apply
