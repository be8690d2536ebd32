"""The Lock across processes against its peers, against an earlier build, and against what no lock can be faster than.

`python -m benchmarks.cluster` measures on one machine, `benchmarks.cluster.on_server` on a server, and
`benchmarks.cluster.scale` how costs grow with sessions, names and tasks.
"""
