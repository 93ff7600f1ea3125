"""The command line: arguments in, one job run, words or JSON lines out."""
