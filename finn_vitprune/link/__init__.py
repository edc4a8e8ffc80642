"""The link between a host and an accelerator on a board without a processor: frames, their exchange, and the serial port."""
