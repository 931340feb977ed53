"""STUN (RFC 8489, RFC 5780 and, in answers, RFC 3489), without I/O."""
