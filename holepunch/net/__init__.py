"""Sockets, interfaces and name look-ups: where machines meet the system."""
