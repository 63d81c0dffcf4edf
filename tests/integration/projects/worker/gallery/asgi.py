"""HTTP, WebSockets, and the channels that workers read."""

# mypy: ignore-errors
import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gallery.settings")
pages = get_asgi_application()

from gallery.workers import Workers  # noqa: E402
from thumbnails.consumers import PreviewWorker, ThumbnailWorker  # noqa: E402
from thumbnails.routing import websocket_urlpatterns  # noqa: E402

jobs = ChannelNameRouter({"thumbnails": ThumbnailWorker.as_asgi(), "previews": PreviewWorker.as_asgi()})
application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
        "channel": jobs,
    }
)
workers = application.application_mapping["lifespan"] = Workers(application)
