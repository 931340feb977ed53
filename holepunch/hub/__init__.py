"""The hub: one server process with mailboxes and STUN."""
