"""Writing model files: QONNX with pruning metadata, through the gate that holds it against PyTorch."""
