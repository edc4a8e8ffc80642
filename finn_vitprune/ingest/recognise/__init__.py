"""Finding the vision transformer in a graph in normal form, and its weights."""
