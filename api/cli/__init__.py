"""The command line: one module per command, one table of options."""
