-- Tell about the server, behind run.lua.
--
-- Returns its run (run.lua); what kind it is: standalone, sentinel or cluster; its version. Nothing: it does not say.

local server = redis.pcall('INFO', 'server')
if type(server) ~= 'string' then
    return {'', '', ''}
end
return {run_of(), string.match(server, 'redis_mode:(%a+)') or '', string.match(server, 'redis_version:([%d.]+)') or ''}
