"""The whole daemon in one process, on a virtual clock and from one seed, in weather that a seed makes.

weather --faults--> world, broker, store, replicas --truth--> oracle --violations--> story
"""
