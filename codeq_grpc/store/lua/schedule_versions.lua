#!lua flags=no-writes
-- Reads versions of a schedule, the newest first.
-- KEYS: m b h
-- ARGV: id, version or 0 for all that are told, how many those are, bytes beyond which it stops
-- Reply: OK, records; MISSING
-- @include schedules
-- @include records
local row = read_schedule(redis.call('HGET', m, ARGV[1]))
if not row then return { 'MISSING' } end
local current, left = redis.call('HGET', b, ARGV[1]), tonumber(ARGV[4])
local wanted, reply = tonumber(ARGV[2]), { 'OK' }
local from, to = row.version, math.max(row.first, row.version - ARGV[3] + 1)
if wanted > 0 then from, to = wanted, wanted end
for version = from, to, -1 do
  local record = record_of(row, version, current)
  if left > 0 and version_of(record) == version then
    reply[#reply + 1] = record
    left = left - #record
  end
end
return reply
