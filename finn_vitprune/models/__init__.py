"""Vision transformers with Brevitas quantisers, weight-compatible with timm."""

import logging
import warnings

# What Brevitas and timm cause at every start, and nobody can mend who uses this package. Other warnings are shown.
warnings.filterwarnings("ignore", "fast_hadamard_transform package not found", UserWarning)
warnings.filterwarnings("ignore", "Named tensors and all their associated APIs", UserWarning)
warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm in a notebook
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU; nothing here needs one
