"""The one generator of archives: for tests, the demo, the benchmarks and the faults."""
