"""drcm: high availability for a few Linux servers, with two-way rsync replication."""

__version__ = "2.0.0.dev0"
