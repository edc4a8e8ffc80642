"""What every op is made of: FINN's contract, folding, memories, the RTL back end, the load chain."""
