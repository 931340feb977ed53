"""The command line; each subcommand is `command` in the module of its name, loaded when called."""
