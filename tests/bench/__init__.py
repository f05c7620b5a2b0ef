"""The benchmarks: `just bench wallet`."""
