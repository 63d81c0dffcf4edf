-- Append a publication to a group's stream, and tell of it.
--
-- KEYS[1], KEYS[2], ARGV[1] to ARGV[4]: see stream.lua
-- KEYS[3]  text that remembers the idempotency key; absent: there is none
-- ARGV[5]  channel to tell on
-- ARGV[6]  body
-- ARGV[7]  how many are kept at most; 0: this one is not kept
-- ARGV[8]  for how many ms
-- ARGV[9]  for how many ms the position is kept
-- ARGV[10] for how many ms the idempotency key is remembered
-- Returns epoch, offset, and 1 where a publication with the key was made before, else 0.
--
-- Laws:
-- - key, offset, append and message are one step: all of it happens, or nothing;
-- - a publication that is not kept ends what is kept before it: a stream has no holes.

if KEYS[3] then
    local made = redis.call('GET', KEYS[3])
    if made then
        local epoch, offset = string.match(made, '^(%S+) (%d+)$')
        return {epoch, offset, 1}
    end
end
local epoch = position()
local number = redis.call('HINCRBY', KEYS[1], 'offset', 1)
local offset = string.format('%.0f', number)
local size, lifetime = tonumber(ARGV[7]), tonumber(ARGV[8])
if size > 0 and lifetime > 0 then
    if number % 16 == 0 then
        trim()
    end
    redis.call(
        'XADD', KEYS[2], 'MAXLEN', '=', size, offset .. '-0',
        'b', ARGV[6], 't', string.format('%.0f', now), 'x', string.format('%.0f', now + lifetime)
    )
    keep(KEYS[2], lifetime)
else
    redis.call('DEL', KEYS[2])
end
keep(KEYS[1], ARGV[9])
if KEYS[3] then
    redis.call('SET', KEYS[3], epoch .. ' ' .. offset, 'PX', ARGV[10])
end
redis.call('PUBLISH', ARGV[5], 'p' .. epoch .. ' ' .. offset .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[6])
return {epoch, offset, 0}
