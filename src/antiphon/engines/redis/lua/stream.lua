-- Part of the scripts that have to do with one group's stream.
--
-- KEYS[1]  position: hash with epoch, offset (of the newest publication), run
-- KEYS[2]  stream: ids are <offset>-0; fields b (body), t (time in ms), x (when its lifetime ends, in ms)
-- ARGV[1]  the run that the caller takes this server's for
-- ARGV[2]  the epoch that begins here if one has to: never used before
-- ARGV[3]  the epoch in which the caller was told of an offset, or nothing
-- ARGV[4]  that offset
--
-- Laws:
-- - an epoch in which an offset was given out is never continued below it: with another run that may have lost
--   something (run.lua), or where the caller knows of a higher offset, a new epoch begins and the stream is dropped;
-- - how long something is kept is only ever put off, never brought forward.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function is_behind(epoch, offset)
    return epoch == ARGV[3] and tonumber(offset) < tonumber(ARGV[4])
end

-- The run in which the group's epoch goes on, or nothing.
local function verified(run)
    if run == ARGV[1] or ARGV[1] == '' then
        return run
    end
    local here, is_whole = run_of()
    if here == run then
        return run -- the caller has yet to learn of it
    end
    if is_whole then
        redis.call('HSET', KEYS[1], 'run', here)
        return here
    end
end

local function position()
    local epoch, offset, run = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run'))
    if epoch and not is_behind(epoch, offset) and verified(run) then
        return epoch, offset
    end
    local here = ARGV[1]
    if epoch then
        here = run_of()
    end
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'offset', '0', 'run', here)
    return ARGV[2], '0'
end

local function keep(key, milliseconds)
    milliseconds = tonumber(milliseconds)
    if milliseconds > 0 and redis.call('PTTL', key) < milliseconds then
        redis.call('PEXPIRE', key, milliseconds)
    end
end

-- Drop those in front whose lifetime is over; what is behind one that lives stays, for nothing is kept without it.
local function trim()
    local from, count = '-', 1
    while true do
        local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)
        for _, entry in ipairs(entries) do
            if tonumber(entry[2][6]) > now then
                if from ~= '-' or count > 1 then
                    redis.call('XTRIM', KEYS[2], 'MINID', '=', entry[1])
                end
                return
            end
            from = '(' .. entry[1]
        end
        if #entries < count then
            if from ~= '-' then
                redis.call('DEL', KEYS[2])
            end
            return
        end
        count = 32
    end
end
