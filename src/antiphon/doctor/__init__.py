"""``antiphon doctor``: reads a Django project and says what in it will not work, and what to write instead.

``load`` imports the project and makes a ``Project`` of it: a value, with its settings, routes, consumers, sources and
the commands that serve it. Each check in ``checks`` is a function of that value, and yields what it finds. ``report``
shows it. To add a check, write the function and put it into its file's ``CHECKS``.
"""
