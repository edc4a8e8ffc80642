"""The objects that scripts and notebooks work with: a network, and a design of it."""
