"""Post-training quantisation and reconstruction: what calibration images alone can do for a network."""
