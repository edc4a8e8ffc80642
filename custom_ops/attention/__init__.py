"""Attention over the heads that are kept."""
