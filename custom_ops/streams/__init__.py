"""Ops that move streams: fork, split, FIFO, width converter, crossing between dies."""
