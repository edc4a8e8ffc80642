"""The hardware units alone, at given shapes, masks and folds: cycles in Verilator, resources in Yosys."""
