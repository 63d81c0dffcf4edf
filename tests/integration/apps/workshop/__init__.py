"""A Django project as its author has it before them: the tests copy this folder and run ``manage.py`` in the copy."""
