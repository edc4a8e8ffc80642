"""Yosys back end and FPGA parts: resources of each node against what a part offers."""
