"""Long experiments with committed results: model zoos and the Fashion-MNIST import."""
