"""Vision transformers from anywhere: ONNX files are read, normalised, and recognised by their structure."""
