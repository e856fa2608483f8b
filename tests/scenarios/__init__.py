"""Situations as text: what happens to a fleet, and what failoverd must say and do, line for line.

file --script--> fleet and events --stage--> the simulated daemon --transcript--> compared with the file
"""
