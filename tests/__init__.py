"""The tests; a regular package, because a library of ours installs another one of this name."""
