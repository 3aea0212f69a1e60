#!/bin/bash
# A floating IP address through NetworkManager:  ipv4addr_nmcli.sh IP NETMASK INTERFACE start|stop
#
# For one additional address on the connection that is active on INTERFACE. INTERFACE may be 'ens192|eno8303':
# the first that exists here. IP may be IPv6. Exit 0: done, or nothing to do.
. "$(dirname "$(readlink -f "$0")")/functions.bash"
set -u

usage() { echo "usage: $me IP NETMASK INTERFACE start|stop" >&2; exit 2; }
nm() { limited 20 nmcli "$@"; }

[ $# -eq 4 ] || usage
ip=$1 action=$4
command -v nmcli >/dev/null || fail "nmcli: not installed; use ipv4addr.sh"

find_interface "$3"
address=$ip/$(prefix_of "$2")
case $ip in *:*) family=ipv6 ;; *) family=ipv4 ;; esac
# 1.41 expected a connection named like its device; other names are found by the device.
connection=$(timeout -k 1 20 nmcli -g GENERAL.CONNECTION device show "$device" 2>/dev/null)
connection=${connection:-$device}

in_profile() {
    timeout -k 1 20 nmcli -g "$family.addresses" connection show "$connection" |
        tr -d ' \\' | tr ',|' '\n\n' | grep -qxF "$address"
}

case $action in
start)
    in_profile || nm connection modify "$connection" "+$family.addresses" "$address" ||
        fail "can't add $address to the connection $connection"
    nm device reapply "$device" || fail "can't apply the connection $connection"
    ;;
stop)
    if in_profile; then
        nm connection modify "$connection" "-$family.addresses" "$address" ||
            fail "can't take $address from the connection $connection"
    fi
    nm device reapply "$device" || fail "can't apply the connection $connection"
    ;;
*) usage ;;
esac
