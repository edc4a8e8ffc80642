"""Ops on each element: add, table lookup, requantisation."""
