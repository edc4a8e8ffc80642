"""What a build leaves: its folder, record, summary, folding file."""
