"""What a build has shown: the typed summary, its tables, pictures and page."""
