"""LayerNorm in integers."""
