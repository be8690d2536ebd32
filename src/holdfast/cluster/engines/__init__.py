"""Where the state of a cluster is kept: one file for each engine."""
