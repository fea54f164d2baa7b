#!lua flags=allow-oom
-- Takes schedules that are to be looked at now, for a while.
-- KEYS: s m b h t p
-- ARGV: how many, for how many ms, bytes beyond which it stops
-- Reply: OK, now, when to look next or 0, then of each id, row, current version, how many of its
--   tasks have not ended
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include records
-- @include open
local most, till, left = tonumber(ARGV[1]), score(C.now + ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('ZRANGEBYSCORE', t, '-inf', score(C.now), 'LIMIT', 0, most)
local rows = read_schedules(ids)
local records = records_of(ids, rows)
local reply, again, never = { 'OK', C.now, 0 }, {}, {}
local looked = 0
for at, id in ipairs(ids) do
  if left <= 0 then break end
  looked = at
  local row = rows[at]
  local time = row and look_at(row) or 0
  if time == 0 then
    never[#never + 1] = id
  elseif time > C.now then
    again[#again + 1], again[#again + 2] = score(time), id
  else
    local count = #reply
    reply[count + 1], reply[count + 2], reply[count + 3] = id, pack_schedule(row), records[at] or ''
    reply[count + 4] = open_count(row.number)
    again[#again + 1], again[#again + 2] = till, id
    left = left - #reply[count + 3] - 200
  end
end
if looked < #ids or #ids == most then
  reply[3] = C.now
else
  local later = redis.call('ZRANGEBYSCORE', t, '(' .. score(C.now), '+inf', 'WITHSCORES',
    'LIMIT', 0, 1)
  reply[3] = tonumber(later[2] or 0)
end
write('ZADD', t, again)
write('ZREM', t, never)
return reply
