"""What the service is measured against: each peer is started by the benchmark, on a free port of 127.0.0.1."""
