"""Folding, memories and places for a part and a goal."""
