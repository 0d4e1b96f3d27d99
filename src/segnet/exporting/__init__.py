"""From a network to a file that other programs run: one function per format, each file checked where it will run."""
