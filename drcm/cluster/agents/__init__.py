"""Resource agents: how each kind of resource is started, stopped and looked at."""
