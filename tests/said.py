"""A place for progress that a test can look at."""

from finn_vitprune.progress import Progress


class Said(list, Progress):
    """TokenRows and statuses in their order."""

    def line(self, text):
        """Keep a line."""
        self.append(text)

    def status(self, text):
        """Keep a status."""
        self.append(text)
