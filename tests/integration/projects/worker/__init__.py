"""A gallery whose thumbnails are made by workers: ``ChannelNameRouter``, and jobs sent to a channel.

``GALLERY_WORKERS`` says how many workers begin with the server, ``GALLERY_EXPIRY`` and ``GALLERY_CAPACITY`` what
``CONFIG`` of the layer says.
"""
