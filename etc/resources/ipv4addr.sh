#!/bin/bash
# A floating IP address by hand:  ipv4addr.sh IP NETMASK INTERFACE start|stop
#
# drcm: done in process
# (The daemon does this itself, faster and watched. Take the line above out, and it runs this script.)
#
# NETMASK dotted or as a prefix length. INTERFACE may be 'ens192|eno8303' (the first that exists here)
# or 1.41's sub-interface eth0:1. IP may be IPv6. Exit 0: done, or nothing to do.
. "$(dirname "$(readlink -f "$0")")/functions.bash"
set -u

usage() { echo "usage: $me IP NETMASK INTERFACE start|stop" >&2; exit 2; }

[ $# -eq 4 ] || usage
ip=$1 action=$4

announce() { # neighbours hold the old MAC for minutes unless told
    if [[ $ip != *:* ]] && command -v arping >/dev/null; then
        limited 5 arping -q -U -c 2 -I "$device" "$ip" >/dev/null 2>&1 && return
    fi
    local python
    python=$(sed -n '1s/^#! *//p' "$(command -v drcm-server)" 2>/dev/null)
    limited 5 "${python:-python3}" -c 'import sys
from drcm.cluster.agents import arp, netlink
arp.announce(sys.argv[1], netlink.link(sys.argv[2]))' "$ip" "$device" ||
        echo "$me: $ip is up, but not announced: install arping" >&2
}

add() {
    case $ip in
    *:*) ip address add "$ip/$prefix" dev "$device" nodad ;;
    *) ip address add "$ip/$prefix" broadcast + dev "$device" label "$label" ;;
    esac
}

find_interface "$3"
prefix=$(prefix_of "$2")
case $action in
start)
    present "$ip" || add || fail "can't add $ip to $device"
    announce
    ;;
stop)
    if present "$ip"; then
        # Without this, deleting the first address of a subnet takes its other addresses with it.
        echo 1 >"/proc/sys/net/ipv4/conf/$device/promote_secondaries" 2>/dev/null
        ip address del "$ip/$prefix" dev "$device" || fail "can't delete $ip from $device"
    fi
    ;;
*) usage ;;
esac
