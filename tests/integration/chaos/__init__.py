"""A server, many clients, and everything that goes wrong between them: what is lost must have been told.

``app`` is the application; a ``publisher`` publishes through an ``outlet``, which is a connection to a worker or a
``script``. Members on each wire (``plainmember``, ``wiremember``, ``sdkmember``, ``pagemember``) come through a
``line`` of their own that ``mischief`` cuts, stalls and delays. Where the server has several ``workers``, the
``reaper`` kills and freezes them, and the ``survey`` asks the others what is kept and who is present. Where the engine
is that of Redis, its servers are a ``redisset``, which the ``saboteur`` kills, freezes, empties, cuts off and replaces.
A member writes what it gets and is told into a ``trail`` per group, and in the end ``checker`` compares the trails with
the ``ledger`` of what was published, by the ``outcome`` of each. ``faults`` breaks antiphon, to see that it is noticed.

``run`` puts it together for any engine and any number of workers; the ``plan`` has the numbers.
"""
