"""Pooling with codes, and unpooling: the operators of every model here, and of any other."""
