"""What all benchmarks share: processes, peers, CPU accounting, statistics and the report."""
