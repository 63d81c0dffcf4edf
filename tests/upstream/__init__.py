"""Channels' own tests, run against antiphon (``scripts/upstream``)."""
