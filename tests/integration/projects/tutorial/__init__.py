"""The chat that Channels' tutorial leads to, on antiphon's layer.

``CHAT_CONSUMERS=antiphon`` in the environment imports the same consumers' base classes from antiphon.
"""
