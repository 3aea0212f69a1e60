"""Bugs for the campaign: each file is the `sitecustomize` of a lab node's Python (campaign_plants)."""
