"""The engine that several hosts share: streams, presence and messages in Redis.

``engine`` is the shell that keeps the contract; below it ``client`` knows where which server is, ``pipeline`` sends
commands, ``subscription`` hears what is published, and ``lua`` has what Redis does in one step. The map of the keys is
``keys``.
"""
