-- Put a message behind those that wait in a general channel.
--
-- KEYS[1], KEYS[2]: see queue.lua
-- ARGV[1]  for how many ms it waits
-- ARGV[2]  how many may wait; -1: any number
-- ARGV[3]  how many bytes they may be
-- ARGV[4]  event
-- ARGV[5]  channel to tell on
-- Returns 1 if there was room, else 0; how many have expired; how many waited before, and of how many bytes.
--
-- Laws:
-- - who waits for a message has found none, so it is told of the first and needs no word of those behind it;
-- - any message fits where nothing waits.

local expired = drop_expired()
local count = redis.call('LLEN', KEYS[1])
local bytes = tonumber(redis.call('GET', KEYS[2]) or 0)
local capacity = tonumber(ARGV[2])
if (capacity >= 0 and count >= capacity) or (count > 0 and bytes + #ARGV[4] > tonumber(ARGV[3])) then
    return {0, expired, count, bytes}
end
add('RPUSH', string.format('%.0f ', now + ARGV[1]) .. ARGV[4], ARGV[5])
return {1, expired, count, bytes}
