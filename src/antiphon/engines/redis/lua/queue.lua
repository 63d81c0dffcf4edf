-- Part of the scripts that have to do with one general channel.
--
-- KEYS[1]  list: the messages that wait, the oldest first; each is when it expires, in ms, a space, and the event
-- KEYS[2]  text: how many bytes they are
--
-- Laws:
-- - what has expired is given to nobody, and counted by who finds it;
-- - both keys are there for GRACE ms longer than the message that lasts longest, so that somebody does find it.

local GRACE = 60000
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function has_expired(entry)
    return tonumber(string.match(entry, '^%d+')) <= now
end

local function drop_first()
    local entry = redis.call('LPOP', KEYS[1])
    if redis.call('EXISTS', KEYS[1]) == 1 then
        redis.call('DECRBY', KEYS[2], #entry)
    else
        redis.call('DEL', KEYS[2])
    end
end

-- Drop those in front that have expired, and return how many there were.
local function drop_expired()
    local dropped = 0
    while true do
        local entry = redis.call('LINDEX', KEYS[1], 0)
        if not entry or not has_expired(entry) then
            return dropped
        end
        drop_first()
        dropped = dropped + 1
    end
end

-- Add a message at one end, and tell those who wait for the first.
local function add(push, entry, channel)
    local count = redis.call(push, KEYS[1], entry)
    redis.call('INCRBY', KEYS[2], #entry)
    local lasts = tonumber(string.match(entry, '^%d+')) - now + GRACE
    for _, key in ipairs({KEYS[1], KEYS[2]}) do
        if redis.call('PTTL', key) < lasts then
            redis.call('PEXPIRE', key, lasts)
        end
    end
    if count == 1 then
        redis.call('PUBLISH', channel, 'w')
    end
end
