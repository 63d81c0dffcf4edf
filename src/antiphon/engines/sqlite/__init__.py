"""The SQLite engine: streams, positions, keys and presence in one file, shared by the processes of one host.

``engine`` is the thin shell on the loop. What it wants done goes to ``writer``, the one thread that writes, which
carries out all that waits in one transaction of ``store``; what it wants to know to ``reader``, another thread.
``peers`` carries what was written to the other processes, ``order`` puts it in the order of the transactions, and
``hearing`` tells the hub of this process. ``registry`` knows the processes and who is present in them. ``schema`` makes
and opens the file, and ``faults`` has words for what goes wrong.
"""
