"""What is inserted between hardware ops: FIFOs, width converters, crossings, the load port."""
