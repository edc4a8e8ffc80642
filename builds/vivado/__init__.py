"""A build as a folder for AMD's Vivado: sources, contents, Tcl, constraints and a host example."""
