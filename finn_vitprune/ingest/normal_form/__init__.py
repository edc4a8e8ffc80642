"""Bringing every tensor of a graph to its normal form: a view of one step of a network."""
