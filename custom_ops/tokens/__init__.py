"""Ops on tokens: embedding, selection, mean."""
