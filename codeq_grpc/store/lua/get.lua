#!lua flags=no-writes
-- Reads one task.
-- KEYS: s m b o
-- ARGV: id, 1 with its result
-- Reply: TASK, now, meta row, spec, error or nil, result or nil; or UNKNOWN
-- @include clock
local s, m, b, o = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id = ARGV[1]
local _, now = read_clock(s)
local meta = redis.call('HGET', m, id)
if not meta then return { 'UNKNOWN' } end
local result = ARGV[2] == '1' and redis.call('HGET', o, id .. 'r')
return { 'TASK', now, meta, redis.call('HGET', b, id), redis.call('HGET', o, id .. 'e'), result }
