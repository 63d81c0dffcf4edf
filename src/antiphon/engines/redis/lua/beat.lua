-- Renew the lease of a process, and claim processes whose lease is over: what they entered is to be taken away.
--
-- KEYS[1]  sorted set of processes by when their lease ends, in ms; of one that is dead and claimed by somebody,
--          by when that claim ends, below zero
-- ARGV[1]  this process
-- ARGV[2]  the lease in ms; a claim lasts as long
-- ARGV[3]  since when this process has been connected, by this server's clock in ms; 0: it does not know yet
-- Returns 1 if the lease of this process had not ended, else 0; the server's run; the time in ms; the processes that
-- are claimed.
--
-- Laws:
-- - whose lease has ended never lives again under the same name: others may be taking its entries away;
-- - nobody is claimed by who has not been here for a whole lease: after an outage of Redis every lease has ended, and
--   the others need time to come back;
-- - of several processes that beat, one at a time has the claim to a dead one, and if it dies too, the next has.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local until_when = redis.call('ZSCORE', KEYS[1], ARGV[1])
local run = run_of()
if until_when and tonumber(until_when) <= now then
    return {0, run, now, {}}
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if ARGV[3] == '0' or now - ARGV[3] < tonumber(ARGV[2]) then
    return {until_when and 1 or 0, run, now, {}}
end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], -now, now, 'LIMIT', 0, 16)
for _, process in ipairs(dead) do
    redis.call('ZADD', KEYS[1], -(now + ARGV[2]), process)
end
return {until_when and 1 or 0, run, now, dead}
