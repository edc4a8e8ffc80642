"""Telling what each layer of a file becomes in hardware, or why it cannot."""
