"""Virtual internets to test with: in memory (simnet) and on kernel namespaces (netlab)."""
