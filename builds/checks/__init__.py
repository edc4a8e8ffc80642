"""Whether the hardware graph and the RTL give the network's bits."""
