#!lua flags=no-writes
-- Reads schedules.
-- KEYS: s m b h p
-- ARGV: bytes beyond which it stops, ids
-- Reply: OK, now, then of each row or '', current version, how many of its tasks have not ended
-- @include calendar
-- @include schedules
-- @include records
-- @include open
local left, reply = tonumber(ARGV[1]), { 'OK', C.now }
for at = 2, #ARGV do
  if left <= 0 then break end
  local raw, count = redis.call('HGET', m, ARGV[at]), #reply
  local row = read_schedule(raw)
  local record = records_of({ ARGV[at] }, { row })[1]
  reply[count + 1], reply[count + 2] = raw or '', record or ''
  reply[count + 3] = row and open_count(row.number) or 0
  left = left - #reply[count + 1] - #reply[count + 2]
end
return reply
