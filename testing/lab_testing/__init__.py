"""Code that the tests, the browser tests and the benchmarks share: labs, people, test doubles."""
