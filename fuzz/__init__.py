"""Fuzzing: what comes from clients, made up by the thousand and compared with other implementations (README.md)."""
