"""Latency, memory and scores of models, side by side."""
