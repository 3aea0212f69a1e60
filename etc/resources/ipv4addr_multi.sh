#!/bin/bash
# 1.41's name for an address with several possible interfaces:  ipv4addr_multi.sh IP NETMASK 'A|B' start|stop
#
# drcm: done in process
# ipv4addr.sh takes the first interface that exists here as well.
set -u
export DRCM_CALLED_AS=ipv4addr_multi.sh
exec "$(dirname "$(readlink -f "$0")")/ipv4addr.sh" "$@"
