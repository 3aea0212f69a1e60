"""What starts, stops and watches resources: one agent a resource (`registry.agent_for`).

Kept empty of imports: the keeper takes `netlink` from here and must stay small.
"""
