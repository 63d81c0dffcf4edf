"""The documents: their examples are run, their tables compared with the code, their links followed."""
