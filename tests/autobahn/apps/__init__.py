"""What is served to the test suite: echoes."""
