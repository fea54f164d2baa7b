#!lua
-- Adds a batch of tasks.
-- KEYS: s w m b z r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: time in ms after which nobody waits for the reply any more, or 0; then head and spec
--   bytes of each task. A head is `>BBI4i8` (priority, max_attempts, lease_ms,
--   when) and the retry policy if the task has its own; when is 0 for now, a time in ms, or
--   minus a delay in ms.
-- Reply: OK, number of the first task (the others follow it), now; or LATE, now
-- @include clock
-- @include rows
-- @include push
-- @include wake
local s, w, m, b, z = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local first, now = read_clock(s)
local not_after = tonumber(ARGV[1])
if not_after > 0 and now > not_after then return { 'LATE', now } end
local count = (#ARGV - 1) / 2
local groups, pending, due, bodies, metas, earliest = {}, 0, {}, {}, {}, math.huge
for i = 1, count do
  local head, body = ARGV[2 * i], ARGV[2 * i + 1]
  local priority, max, lease, when, at = struct.unpack('>BBI4i8', head)
  local id = struct.pack('>I7', first + i - 1)
  local time = when > 0 and when or now - when
  local row = { PENDING, 0, priority, 0, max, 0, #body, lease, 0, now, now }
  row.policy, row.claim = head:sub(at), ''
  if time > now then
    row[STATE], row[TIME] = SCHEDULED, time
    due[#due + 1] = time
    due[#due + 1] = id
    earliest = math.min(earliest, time)
  else
    push(groups, priority, id)
    pending = pending + 1
  end
  bodies[2 * i - 1], bodies[2 * i] = id, body
  metas[2 * i - 1], metas[2 * i] = id, pack_row(row)
end
-- Whoever waits knows the next due time; an earlier one must be told.
local told = pending
if pending == 0 then
  local next_due = redis.call('ZRANGE', z, 0, 0, 'WITHSCORES')[2]
  if not next_due or earliest < tonumber(next_due) then told = 1 end
end
redis.call('HSET', s, 'clk', first + count - 1)
for priority, group in pairs(groups) do redis.call('RPUSH', KEYS[6 + priority], unpack(group)) end
if #due > 0 then redis.call('ZADD', z, unpack(due)) end
redis.call('HSET', b, unpack(bodies))
redis.call('HSET', m, unpack(metas))
redis.call('HINCRBY', s, 'enqueued', count)
wake(w, told)
return { 'OK', first, now }
