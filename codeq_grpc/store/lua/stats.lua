#!lua flags=no-writes
-- Counts of one queue.
-- KEYS: s m z l t d r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: none
-- Reply: OK, now, pending, scheduled, in progress, completed, failed, since when the oldest
--   pending task is claimable or 0, then totals: enqueued, completed, attempts failed, expired
-- @include clock
-- @include rows
local s, m, z, l, t, d = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local _, now = read_clock(s)
local pending, heads, oldest = 0, {}, math.huge
for priority = 0, 9 do
  local list = KEYS[7 + priority]
  pending = pending + redis.call('LLEN', list)
  heads[#heads + 1] = redis.call('LINDEX', list, 0) or nil
end
for _, row in ipairs(read_rows(m, heads)) do
  if row and row[STATE] == PENDING then oldest = math.min(oldest, row[TIME]) end
end
local totals = redis.call('HMGET', s, 'enqueued', 'completed', 'failed', 'expired')
return {
  'OK', now, pending, redis.call('ZCARD', z), redis.call('ZCARD', l),
  redis.call('ZCARD', t), redis.call('ZCARD', d), oldest < math.huge and oldest or 0,
  tonumber(totals[1] or 0), tonumber(totals[2] or 0),
  tonumber(totals[3] or 0), tonumber(totals[4] or 0),
}
