"""Long experiments with committed results, which run in a checkout alone: ``python -m builds.experiments.NAME``."""

if __name__ != "builds.experiments":
    raise ImportError(f"{__name__} is no part of the package: import builds.experiments, in a checkout")
