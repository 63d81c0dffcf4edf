"""Polls: consumers that are not async, on the ORM, with users who have logged in.

``POLLS_DATABASE`` is the path of the SQLite file, ``POLLS_CONN_MAX_AGE`` how many seconds a connection to it is kept.
"""
