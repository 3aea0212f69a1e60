"""Replication: who may write a set, what a run does, and how nothing is lost."""
