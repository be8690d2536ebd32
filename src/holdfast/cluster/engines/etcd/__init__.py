"""etcd as an engine."""
