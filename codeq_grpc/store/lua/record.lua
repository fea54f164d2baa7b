#!lua flags=allow-oom
-- Appends events to a tenant's audit trail and forgets the oldest, a bounded number a call. Ids
-- ascend over its three streams together. Allowed when memory is short: so are changes that drain.
-- KEYS: changes denials calls
-- ARGV: which of these, 1 to 3; ms that events are kept; how many of that stream are kept; then
--   subject, action, object, outcome, request id, reason, credential and peer of each event
-- Reply: OK
local STEP = 1000
local streams = { changes, denials, calls }
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ms, number = now, 0
for _, stream in ipairs(streams) do
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last then
    local at, nth = last[1]:match('^(%d+)-(%d+)$')
    at, nth = tonumber(at), tonumber(nth)
    if at > ms then ms, number = at, 0 end
    if at == ms then number = math.max(number, nth + 1) end
  end
end
local own = streams[tonumber(ARGV[1])]
for i = 4, #ARGV - 7, 8 do
  redis.call('XADD', own, string.format('%.0f-%d', ms, number), 'time', now, 'subject', ARGV[i],
    'action', ARGV[i + 1], 'object', ARGV[i + 2], 'outcome', ARGV[i + 3],
    'request_id', ARGV[i + 4], 'reason', ARGV[i + 5], 'credential', ARGV[i + 6],
    'peer', ARGV[i + 7])
  number = number + 1
end
local oldest = math.max(0, now - ARGV[2])
for _, stream in ipairs(streams) do
  redis.call('XTRIM', stream, 'MINID', '~', oldest, 'LIMIT', STEP)
end
redis.call('XTRIM', own, 'MAXLEN', '~', ARGV[3], 'LIMIT', STEP)
return { 'OK' }
