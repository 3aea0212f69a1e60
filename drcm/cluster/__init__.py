"""The cluster: a pure engine that decides, and the daemon that carries it out."""
