"""Long experiments with committed results, which run in a checkout alone: ``python -m builds.experiments.NAME``."""
