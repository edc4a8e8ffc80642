"""Static block pruning: scores, masks, schedules, and cutting a masked model small."""
