"""What moves images and logits between a host and an accelerator: frames over a serial port, an AXI DMA with PYNQ, data movers with XRT."""
