"""Wire formats and state machines: no socket, clock, thread or randomness."""
