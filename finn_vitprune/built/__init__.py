"""What a build folder says of itself: its record, its evaluation, its verdict. FINN is not needed to read it."""
