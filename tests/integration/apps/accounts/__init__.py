"""A Django project whose users log in and out, change their passwords, and are thrown out."""
