"""Passes from a QONNX model to the integer hardware graph, one pass a file."""
