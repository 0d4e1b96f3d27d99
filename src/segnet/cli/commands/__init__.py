"""One file is one command: one function ``run``, whose signature is the flags and the YAML."""
