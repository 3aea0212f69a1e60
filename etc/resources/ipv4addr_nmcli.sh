#!/bin/bash
# A floating IP address through NetworkManager:  ipv4addr_nmcli.sh IP NETMASK INTERFACE start|stop
#
# For one additional address on a connection. As in 1.41, the connection and the device have the same name.
# INTERFACE may be 'ens192|eno8303': the first that exists here. Exit 0: done, or nothing to do.
set -u

usage() { echo "usage: ${0##*/} IP NETMASK INTERFACE start|stop" >&2; exit 2; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }
nm() { timeout -k 2 20 nmcli "$@"; }

[ $# -eq 4 ] || usage
ip=$1 netmask=$2 interfaces=$3 action=$4
command -v nmcli >/dev/null || fail "nmcli: not installed; use ipv4addr.sh"

prefix_of() { # 255.255.255.0 -> 24
    case $1 in *.*) ;; *) echo "$1"; return ;; esac
    local bits=0 octet left
    local -a octets
    IFS=. read -r -a octets <<<"$1"
    for octet in "${octets[@]}"; do
        for ((left = octet; left > 0; left = (left << 1) & 255)); do bits=$((bits + 1)); done
    done
    echo "$bits"
}

find_interface() {
    local -a names
    IFS='|' read -r -a names <<<"${interfaces//\'/}"
    for device in "${names[@]}"; do
        device=${device%%:*}
        ip link show dev "$device" >/dev/null 2>&1 && return 0
    done
    return 1
}

in_profile() { nm -g ipv4.addresses connection show "$device" | tr -d ' ' | tr ',' '\n' | grep -qxF "$address"; }

find_interface || fail "no interface $interfaces on this node"
address=$ip/$(prefix_of "$netmask")
case $action in
start)
    in_profile || nm connection modify "$device" +ipv4.addresses "$address" || fail "can't add $address to $device"
    nm device reapply "$device" || fail "can't apply the connection $device"
    ;;
stop)
    if in_profile; then
        nm connection modify "$device" -ipv4.addresses "$address" || fail "can't take $address from $device"
    fi
    nm device reapply "$device" || fail "can't apply the connection $device"
    ;;
*) usage ;;
esac
