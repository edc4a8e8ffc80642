"""The ``finn-vitprune`` program: one module a command."""
