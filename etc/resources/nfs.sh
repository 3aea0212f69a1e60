#!/bin/bash
# An NFS file system:  nfs.sh SOURCE TARGET mount|unmount|remount|watch|status
# 1.41's name. filesystem.sh says what it does.
set -u
export DRCM_FSTYPE=nfs DRCM_CALLED_AS=nfs.sh
exec "$(dirname "$(readlink -f "$0")")/filesystem.sh" "$@"
