"""What the templates need beyond Django's own tags."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from chat import avatars

register = template.Library()


@register.simple_tag
def avatar(name: str) -> SafeString:
    """Draw somebody's initials on their colour. Decoration only: the name stands next to it."""
    return format_html(
        '<span class="avatar avatar-{}" aria-hidden="true">{}</span>', avatars.colour(name), avatars.initials(name)
    )


@register.filter
def ago(moment: datetime) -> str:
    """Say how long ago it was, in one unit: ``3 hours ago``."""
    if timezone.now() - moment < timedelta(minutes=1):
        return "just now"
    return f"{timesince(moment, depth=1)} ago"
