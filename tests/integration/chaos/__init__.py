"""A server, many clients, and everything that goes wrong between them: what is lost must have been told.

``app`` is the application and ``publisher`` publishes; members on each wire (``plainmember``, ``wiremember``,
``sdkmember``) come through a ``line`` of their own that ``mischief`` cuts, stalls and delays. A member writes what
it gets and is told into a ``trail`` per group, and in the end ``checker`` compares the trails with the ``ledger`` of
what was published. ``faults`` breaks the hub, to see that the checker notices.
"""
