"""The stitched design, and its simulation whole and unit by unit."""
