"""Mediators that come with holepunch, one file each, loaded by entry point like any other."""
