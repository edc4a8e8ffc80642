"""Builder steps for FINN, ready build configs, and the bundled example. FINN is set up before any module imports it."""

import finn_vitprune.custom_ops  # noqa: F401  (sets FINN up and registers the ops)
