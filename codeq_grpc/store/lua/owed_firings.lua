#!lua flags=allow-oom
-- Takes firings whose task is to be enqueued or cancelled now, for a while. What is not owed any
-- more goes, and what a call that broke off left.
-- KEYS: s m b h f g o p x
-- ARGV: how many, for how many ms, bytes beyond which it stops
-- Reply: OK, now, then of each id of the schedule, place, firing, row, version that it fires
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include records
-- @include firings
local till, left = score(C.now + ARGV[2]), tonumber(ARGV[3])
local names = redis.call('ZRANGEBYSCORE', x, '-inf', score(C.now), 'LIMIT', 0, tonumber(ARGV[1]))
local ids, firings, again = {}, firings_named(names), {}
local done, gone, closed = {}, {}, {}
local function let_go(name, one)
  done[#done + 1] = name
  if is_open(one) then return end
  local place = (redis.call('HGET', o, name) or ''):sub(1, 16)
  closed[#closed + 1] = place:sub(1, 7) .. name
  if redis.call('HEXISTS', f, place) == 0 then gone[#gone + 1] = place end
end

for at, one in ipairs(firings) do ids[at] = one and one.id or '' end
local rows, currents, records = read_schedules(ids), {}, {}
if #ids > 0 then currents = redis.call('HMGET', b, unpack(ids)) end
local reply = { 'OK', C.now }
for at, one in ipairs(firings) do
  if left <= 0 then break end
  local row = rows[at]
  local is_its = one and row and row.number == one.place:sub(1, 7)
  if not is_its or not is_open(one) or one.state == OPEN and one.cancel == 0 then
    let_go(names[at], one)
  else
    local version = row.number .. one.version .. ids[at]
    local record = records[version] or record_of(row, one.version, currents[at]) or ''
    records[version] = record
    local count = #reply
    reply[count + 1], reply[count + 2], reply[count + 3] = ids[at], one.place, pack_firing(one)
    reply[count + 4], reply[count + 5] = pack_schedule(row), record
    left = left - #record - 300
    again[#again + 1], again[#again + 2] = till, names[at]
  end
end
write('ZADD', x, again)
write('ZREM', g, gone)
write('ZREM', p, closed)
for _, member in ipairs(closed) do redis.call('HDEL', o, member:sub(-7)) end
write('ZREM', x, done)
return reply
