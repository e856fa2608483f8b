"""Crash at every boundary of a failover, restart, and compare with the run that did not crash."""
