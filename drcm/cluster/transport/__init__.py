"""How heartbeats and questions travel: keys, sealed datagrams, TLS."""
