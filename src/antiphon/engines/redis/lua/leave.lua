-- Note that a client is no longer in a group, and tell of it where it was announced.
--
-- KEYS[1]  hash of entries (enter.lua)
-- ARGV[1]  client
-- ARGV[2]  channel to tell on
-- Returns 1 if it was there, else 0: nothing was told.

local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then
    return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
if string.sub(entry, 1, 1) == '1' then
    redis.call('PUBLISH', ARGV[2], 'l' .. string.match(entry, '^%S+ (.*)$'))
end
return 1
