"""drcm-server: the daemon, the config check, the keys and the console."""
