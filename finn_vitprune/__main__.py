"""``python -m finn_vitprune``: the command line, also for ``accelerate launch -m finn_vitprune train ...``."""

from finn_vitprune.cli import main

main()
