"""From QONNX to hardware ops: pattern rules, and what tidies their result."""
