"""The hub: one server process with mailboxes, STUN and a relay."""
