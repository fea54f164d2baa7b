#!lua flags=allow-oom
-- Notes that a caller on a server waits for a task to end; one short row a waited task.
-- KEYS: s m g
-- ARGV: id, server
-- Reply: ENDED, WAITING or UNKNOWN
-- @include queue
-- @include rows
local id, server = ARGV[1], ARGV[2]
local row = read_rows({ id })[1]
if not row then return { 'UNKNOWN' } end
if row[STATE] >= COMPLETED then return { 'ENDED' } end
local servers = redis.call('HGET', g, id) or ''
if not (' ' .. servers .. ' '):find(' ' .. server .. ' ', 1, true) then
  redis.call('HSET', g, id, servers == '' and server or servers .. ' ' .. server)
end
return { 'WAITING' }
