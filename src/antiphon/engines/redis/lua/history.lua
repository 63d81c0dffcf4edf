-- Return a part of a group's stream, and its position; the position is there from now on, if it was not.
--
-- KEYS[1], KEYS[2], ARGV[1] to ARGV[4]: see stream.lua
-- ARGV[5]  for how many ms the position is kept
-- ARGV[6]  XRANGE or XREVRANGE
-- ARGV[7]  the id at which to begin
-- ARGV[8]  how many publications at most; -1: all
-- Returns epoch, offset, and the entries as XRANGE gives them.
--
-- Laws:
-- - position and entries fit together;
-- - what is beyond its lifetime is not among them.

local epoch, offset = position()
keep(KEYS[1], ARGV[5])
local count = tonumber(ARGV[8])
if count == 0 then
    return {epoch, offset, {}}
end
trim()
local finish = ARGV[6] == 'XRANGE' and '+' or '-'
if count < 0 then
    return {epoch, offset, redis.call(ARGV[6], KEYS[2], ARGV[7], finish)}
end
return {epoch, offset, redis.call(ARGV[6], KEYS[2], ARGV[7], finish, 'COUNT', count)}
