"""Servers that show a model's predictions over HTTP."""
