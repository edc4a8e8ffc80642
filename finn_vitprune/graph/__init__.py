"""Reading ONNX graphs once: nodes, constants, index-array values, layout rules, and the one pass over the nodes."""
