"""The protocols that a connection may speak: pure code that turns bytes into content and content into bytes."""
