"""Token drop: keep the tokens of highest score, fuse the others."""
