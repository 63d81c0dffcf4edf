-- Take away what a dead process entered into a group, and tell of each end that was to be announced.
--
-- KEYS[1]  hash of entries (enter.lua)
-- ARGV[1]  the dead process
-- ARGV[2]  channel to tell on
-- Returns how many entries there were.
--
-- Law: entry and message are one step, so that each end is told once however many sweep.

local entries = redis.call('HGETALL', KEYS[1])
local found = 0
for place = 1, #entries, 2 do
    local announced, process, info = string.match(entries[place + 1], '^(%d)(%S+) (.*)$')
    if process == ARGV[1] then
        redis.call('HDEL', KEYS[1], entries[place])
        if announced == '1' then
            redis.call('PUBLISH', ARGV[2], 'l' .. info)
        end
        found = found + 1
    end
end
return found
