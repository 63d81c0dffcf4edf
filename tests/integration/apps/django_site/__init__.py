"""A Django project with the seed application."""
