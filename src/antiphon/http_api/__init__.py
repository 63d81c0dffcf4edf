"""The HTTP API: publishing, presence, history and control for programs in any language.

It has the shape of Centrifugo's server API, so that its clients, such as ``cent`` on PyPI, work as they are. Mount the
ASGI application ``HTTPAPI()``, or set ``api_path``, and antiphon's server answers it in front of the application.
"""

from antiphon.http_api.asgi import HTTPAPI

__all__ = ["HTTPAPI"]
