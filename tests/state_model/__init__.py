"""A model of the state machine over the real `decide`: every configuration, every signal, every law.

configuration --moves--> the real decide and admit --steps--> laws
                                    |
                                    v
                         the next configuration, forgetting what decides nothing
"""
