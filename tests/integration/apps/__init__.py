"""Applications that the tests serve, each in a process of its own."""
