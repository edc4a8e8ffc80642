"""FINN plugin: streaming FPGA accelerators of block-pruned, token-dropping vision transformers."""

__version__ = "0.1.0"
