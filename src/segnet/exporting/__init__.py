"""Export of a network to files for other runtimes; each file is checked in its own runtime."""
