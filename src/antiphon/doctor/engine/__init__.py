"""``antiphon engine check``: uses an engine as a server does, and says whether it is set up well.

``probe`` tries every verb on a group of its own, whatever the engine. ``redis``, ``sqlite`` and ``memory`` are
siblings: each makes an ``Examination`` of an engine of its kind. ``report`` shows it.
"""
