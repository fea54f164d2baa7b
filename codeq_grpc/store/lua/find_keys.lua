#!lua flags=no-writes
-- Reads API keys.
-- KEYS: rows
-- ARGV: ids
-- Reply: OK, time in ms, row or '' of each
local time = redis.call('TIME')
local reply = { 'OK', time[1] * 1000 + math.floor(time[2] / 1000) }
for i, row in ipairs(redis.call('HMGET', rows, unpack(ARGV))) do reply[i + 2] = row or '' end
return reply
