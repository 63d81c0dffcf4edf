-- Part of other scripts, and one by itself: in which run of a server they are.
--
-- An epoch goes on only in the run of the server that made it. Of another run it is not known whether its data is all
-- that was answered for: a replica that took over may have lagged, and a snapshot is old. The exception is a server
-- that was started again with an append-only file, and has not taken over from another since.
--
-- Laws:
-- - two runs never have the same name: neither a server started twice, nor one that was made a replica in between;
-- - run_of() returns the name, and whether what came before it in this place is all there.

local function run_of()
    local server = redis.pcall('INFO', 'server')
    local run = type(server) == 'string' and string.match(server, 'run_id:(%w+)')
    if not run then
        return '', false -- the server does not say; then epochs go on in any run
    end
    local former = string.match(redis.call('INFO', 'replication'), 'master_replid2:(%w+)')
    run = string.sub(run, 1, 20)
    if former and string.find(former, '[^0]') then
        return run .. '.' .. string.sub(former, 1, 12), false
    end
    local is_logged = string.find(redis.call('INFO', 'persistence'), 'aof_enabled:1', 1, true)
    return run, is_logged ~= nil
end
