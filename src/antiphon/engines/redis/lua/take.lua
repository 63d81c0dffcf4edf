-- Take the oldest message of a general channel.
--
-- KEYS[1], KEYS[2]: see queue.lua
-- KEYS[3]  hash: process to what it took last: a token, a space, the message
-- ARGV[1]  process
-- ARGV[2]  token of this call; one that is made a second time has the same
-- Returns how many have expired, and the message, if there is one.
--
-- Laws:
-- - a call whose answer was lost on the way gets the same message again;
-- - where the memory is full, that is forgotten rather than nothing taken.

local last = redis.call('HGET', KEYS[3], ARGV[1])
if last and string.sub(last, 1, #ARGV[2] + 1) == ARGV[2] .. ' ' then
    return {0, string.sub(last, #ARGV[2] + 2)}
end
local expired = drop_expired()
local entry = redis.call('LINDEX', KEYS[1], 0)
if not entry then
    return {expired, false}
end
drop_first()
redis.pcall('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. entry)
redis.pcall('PEXPIRE', KEYS[3], GRACE)
return {expired, entry}
