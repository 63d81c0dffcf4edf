-- Tell about the settings of the server.
--
-- KEYS[1]  a key that it has; it is not looked at
-- Returns what INFO says of its memory and persistence; nothing, where it may not be asked.

local found = ''
for _, section in ipairs({'memory', 'persistence'}) do
    local said = redis.pcall('INFO', section)
    if type(said) == 'string' then
        found = found .. said
    end
end
return found
