"""The import workflow: a float ONNX network to a pruned, quantised model file."""
