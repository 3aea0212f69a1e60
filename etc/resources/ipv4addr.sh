#!/bin/bash
# A floating IP address by hand:  ipv4addr.sh IP NETMASK INTERFACE start|stop
#
# drcm: done in process
# (The daemon does this itself, faster and watched. Take the line above out, and it runs this script.)
#
# NETMASK dotted or as a prefix length. INTERFACE may be 'ens192|eno8303' (the first that exists here)
# or 1.41's sub-interface eth0:1. Exit 0: done, or nothing to do.
set -u

usage() { echo "usage: ${0##*/} IP NETMASK INTERFACE start|stop" >&2; exit 2; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

[ $# -eq 4 ] || usage
ip=$1 netmask=$2 interfaces=$3 action=$4

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

find_interface() { # sets device and label
    local name
    local -a names
    IFS='|' read -r -a names <<<"${interfaces//\'/}"
    for name in "${names[@]}"; do
        device=${name%%:*} label=$name
        ip link show dev "$device" >/dev/null 2>&1 && return 0
    done
    return 1
}

present() { [ -n "$(ip -o address show dev "$device" to "$ip")" ]; }

announce() { # neighbours hold the old MAC for minutes unless told
    if command -v arping >/dev/null; then
        timeout -k 1 5 arping -q -U -c 2 -I "$device" "$ip" >/dev/null 2>&1 && return
    fi
    local python
    python=$(sed -n '1s/^#! *//p' "$(command -v drcm-server)" 2>/dev/null)
    timeout -k 1 5 "${python:-python3}" -c 'import sys
from drcm.cluster.agents import arp, netlink
arp.announce(sys.argv[1], netlink.link(sys.argv[2]))' "$ip" "$device" ||
        echo "${0##*/}: $ip is up, but not announced: install arping" >&2
}

find_interface || fail "no interface $interfaces on this node"
prefix=$(prefix_of "$netmask")
case $action in
start)
    if ! present; then
        ip address add "$ip/$prefix" broadcast + dev "$device" label "$label" || fail "can't add $ip to $device"
    fi
    announce
    ;;
stop)
    if present; then
        # Without this, deleting the first address of a subnet takes its other addresses with it.
        echo 1 >"/proc/sys/net/ipv4/conf/$device/promote_secondaries" 2>/dev/null
        ip address del "$ip/$prefix" dev "$device" || fail "can't delete $ip from $device"
    fi
    ;;
*) usage ;;
esac
