"""An engine: units that several encoders share in time, with its ports and switches."""
