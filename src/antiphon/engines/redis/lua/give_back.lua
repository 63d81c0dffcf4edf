-- Put a message that was taken in vain in front of those that wait in a general channel.
--
-- KEYS[1], KEYS[2]: see queue.lua
-- ARGV[1]  the message
-- ARGV[2]  channel to tell on
-- Returns 1 if it has expired meanwhile, else 0.

if has_expired(ARGV[1]) then
    return 1
end
add('LPUSH', ARGV[1], ARGV[2])
return 0
