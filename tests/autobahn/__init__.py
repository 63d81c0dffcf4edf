"""The Autobahn test suite against antiphon's server and its peers: `scripts/autobahn --help`."""
