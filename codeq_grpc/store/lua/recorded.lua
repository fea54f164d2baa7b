#!lua flags=no-writes
-- Reads the newest events of a tenant's audit trail, of each of its streams as many as are wanted.
-- KEYS: changes denials calls
-- ARGV: + or an id before which to begin; how many; ms that events are kept
-- Reply: OK, then id and fields of each event, stream by stream
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[3]
local from = ARGV[1] == '+' and '+' or '(' .. ARGV[1]
local reply = { 'OK' }
for _, stream in ipairs({ changes, denials, calls }) do
  local found = redis.call('XREVRANGE', stream, from, math.max(oldest, 0), 'COUNT', ARGV[2])
  for _, event in ipairs(found) do
    reply[#reply + 1] = event[1]
    reply[#reply + 1] = event[2]
  end
end
return reply
