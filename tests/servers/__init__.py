"""Real servers for tests: a broker and an SSH machine, each got by a ladder of ways."""
