"""Alerts: what is worth waking somebody for, how often, and by which channel."""
