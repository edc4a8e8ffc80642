"""Encoders that share units: binding, engines, what other networks need of them."""
