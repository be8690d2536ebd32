"""An engine for the processes of many machines: they share one Redis or Valkey server. `engine` is the whole of it."""
