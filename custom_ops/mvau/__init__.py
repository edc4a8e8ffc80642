"""The sparse-block matrix unit: folding, load balancing, contents, estimates."""
