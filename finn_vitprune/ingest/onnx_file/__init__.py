"""Reading ONNX files of any origin into plain nodes and constants, or saying why not."""
