#!lua flags=allow-oom
-- Notes that a caller on a server waits for a task to end; one short row a waited task.
-- KEYS: m g
-- ARGV: id, server
-- Reply: ENDED, WAITING or UNKNOWN
-- @include rows
local m, g, id, server = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local row = read_row(redis.call('HGET', m, id))
if not row then return { 'UNKNOWN' } end
if row[STATE] == COMPLETED or row[STATE] == FAILED then return { 'ENDED' } end
local servers = redis.call('HGET', g, id) or ''
if not (' ' .. servers .. ' '):find(' ' .. server .. ' ', 1, true) then
  redis.call('HSET', g, id, servers == '' and server or servers .. ' ' .. server)
end
return { 'WAITING' }
