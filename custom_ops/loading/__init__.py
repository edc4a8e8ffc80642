"""The load port, the end of the load chain, and the check of frames at the input."""
