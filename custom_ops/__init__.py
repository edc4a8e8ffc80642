"""Hardware ops: one op a file, its RTL in ``rtl/``. Importing this prepares FINN and registers all of them."""

from finn_vitprune import finn_setup

finn_setup.prepare()

# What follows imports FINN, which must be prepared by then.
from finn_vitprune.custom_ops.registry import keep_from_set_folding, register_ops  # noqa: E402
from finn_vitprune.custom_ops.token_drop.qonnx_token_drop import TokenDrop  # noqa: E402

register_ops()
keep_from_set_folding()

__all__ = ["TokenDrop"]  # qonnx finds the op by its domain, the name of this package
