"""The situations of facts/scenarios.md on real processes: one module each, run by `make test-real`."""
