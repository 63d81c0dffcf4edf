-- Tell about the server, behind run.lua.
--
-- Returns its run (run.lua); what kind it is: standalone, sentinel or cluster; its version. Nothing: it does not say.
-- What Redis calls redis_mode is server_mode in Valkey; the version is that of the Redis it is compatible with.

local server = redis.pcall('INFO', 'server')
if type(server) ~= 'string' then
    return {'', '', ''}
end
return {run_of(), string.match(server, '_mode:(%a+)') or '', string.match(server, 'redis_version:([%d.]+)') or ''}
