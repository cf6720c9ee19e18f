"""Training in several processes: data-parallel and sharded."""
