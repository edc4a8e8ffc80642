"""Verilator back end: compile once per structure, run packed NumPy arrays at C++ speed."""
