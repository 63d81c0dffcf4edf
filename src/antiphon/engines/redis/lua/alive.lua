-- Return the processes that live.
--
-- KEYS[1]  sorted set of processes by when their lease ends, in ms (beat.lua)

local clock = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), '+inf')
