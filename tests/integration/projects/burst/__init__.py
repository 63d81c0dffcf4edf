"""A project in one file, whose consumers are Channels' and take their time."""
