"""Operations and parameters of pruned networks, by formula and counted on graphs."""
