"""Publications and clients as the HTTP API and the command line tell of them, in Centrifugo's words."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.types import ClientInfo, Publication

__all__ = ["Answer", "client_info", "publication"]

#: A JSON object; the JSON that is in it already stands as it is.
Answer = dict[str, Any]


def client_info(info: ClientInfo) -> Answer:
    """Return who a client is; what the application says of it only where it does."""
    said = {"conn_info": info.connection_info, "chan_info": info.subscription_info}
    answer: Answer = {"client": info.client, "user": info.user}
    return answer | {name: msgspec.Raw(content) for name, content in said.items() if content}


def publication(publication: Publication) -> Answer:
    """Return a publication, with its tags and its publisher where it has any."""
    answer: Answer = {"data": msgspec.Raw(publication.data), "offset": publication.offset}
    if publication.tags:
        answer["tags"] = publication.tags
    if publication.info is not None:
        answer["info"] = client_info(publication.info)
    return answer
