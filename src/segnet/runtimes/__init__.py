"""Runtimes: one interface, and one module for each library that runs a model."""
