#!/bin/bash
# A floating IP address by NetworkManager's connection files:  ipv4addr_copy_nmcli.sh IP NETMASK INTERFACE start|stop
# 1.41's name. ipv4addr_copy_config.sh says what it does.
set -u
export DRCM_NMCLI=1 DRCM_CALLED_AS=ipv4addr_copy_nmcli.sh
exec "$(dirname "$(readlink -f "$0")")/ipv4addr_copy_config.sh" "$@"
