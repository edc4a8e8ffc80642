"""Builder steps for FINN, ready build configs, and the bundled example."""
