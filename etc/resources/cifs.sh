#!/bin/bash
# A CIFS file system:  cifs.sh SOURCE TARGET mount|unmount|remount|watch|status
# 1.41's name. filesystem.sh says what it does.
set -u
export DRCM_FSTYPE=cifs DRCM_CALLED_AS=cifs.sh
exec "$(dirname "$(readlink -f "$0")")/filesystem.sh" "$@"
