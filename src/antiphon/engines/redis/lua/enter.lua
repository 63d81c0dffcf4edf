-- Note that a client is in a group, or that its info changed; tell of it if it is new and to be announced.
--
-- KEYS[1]  hash: client to an entry: 1 or 0 (announced), the process, a space, the info
-- ARGV[1]  client
-- ARGV[2]  process
-- ARGV[3]  1 if its coming and going is announced, else 0
-- ARGV[4]  info
-- ARGV[5]  channel to tell on
--
-- Laws:
-- - an entry is announced once, however often it is made;
-- - whether its end is announced was decided when it was first made.

local before = redis.call('HGET', KEYS[1], ARGV[1])
local announced = before and string.sub(before, 1, 1) or ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], announced .. ARGV[2] .. ' ' .. ARGV[4])
if not before and announced == '1' then
    redis.call('PUBLISH', ARGV[5], 'j' .. ARGV[4])
end
return 1
