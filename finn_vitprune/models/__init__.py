"""Vision transformers with Brevitas quantisers, weight-compatible with timm."""
