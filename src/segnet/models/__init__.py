"""Encoders, decoders and the networks made of them. Models know nothing of data."""
