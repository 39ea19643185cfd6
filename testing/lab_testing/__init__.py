"""What the tests, the browser tests and the measurements share: labs, people, doubles."""
