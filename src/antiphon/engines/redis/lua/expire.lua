-- Drop what nobody has taken in time from a general channel.
--
-- KEYS[1], KEYS[2]: see queue.lua
-- Returns how many messages that were, and how many wait.

return {drop_expired(), redis.call('LLEN', KEYS[1])}
