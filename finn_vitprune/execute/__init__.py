"""Running models on whole batches: hardware graphs by their golden models, and QONNX."""
