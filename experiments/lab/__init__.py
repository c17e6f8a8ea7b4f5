"""Lab: design searches, performance benchmarks and our own results. In the repository, in no wheel."""
