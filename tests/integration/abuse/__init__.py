"""A running server under abuse: what one client sends must cost that client, and nobody else."""
