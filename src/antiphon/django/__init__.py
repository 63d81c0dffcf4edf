"""antiphon in a Django project: ``"antiphon.django"`` in ``INSTALLED_APPS``, before ``django.contrib.staticfiles``.

``manage.py runserver`` then serves the project's ``ASGI_APPLICATION`` with antiphon's server, static files and
autoreload included, and ``ANTIPHON = {…}`` in the settings sets antiphon's options.
"""
