"""The Centrifuge wire: version 2 of the client protocol of Centrifugo and its SDKs, without I/O.

A client sends *commands*, the server *replies* to each by its number, and *pushes* what nobody asked for. A WebSocket
frame holds any number of them. There is one schema (``schema``) and two encodings of it, which are siblings: ``json``
and ``protobuf``; ``encoding`` says what they have in common and chooses one for a connection.

What the words and numbers mean was learnt from the public definitions: ``client.proto`` of
https://github.com/centrifugal/protocol, and https://centrifugal.dev/docs/transports/client_protocol.
"""
