"""Tests, and the lab that they and the demo share (tests.lab)."""
