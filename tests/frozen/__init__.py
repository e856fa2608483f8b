"""Half-done failovers of an older program, kept as files: the present program finishes each of them.

A case is two files in tests/data/frozen/<name>: the database as SQL, at the schema of its time, and beside it what was
true at the provider as JSON. `python -m tests.frozen.freeze` makes a set; an old set is never made anew.
"""
