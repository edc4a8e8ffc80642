"""Boards of Lattice ECP5: from a design to a bitstream with open tools, and the routed netlist as it would run on the board."""
