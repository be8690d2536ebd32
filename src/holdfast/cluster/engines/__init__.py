"""Where the state of a cluster is kept. `contract` says what an engine promises; each engine has a file or a folder."""
