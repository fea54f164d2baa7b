#!lua flags=no-writes
-- Counts of one queue.
-- KEYS: s m z l y t d c a kw r
-- ARGV: none
-- Reply: OK, now, pending, scheduled, blocked, in progress, completed, failed, cancelled, expired,
--   since when the oldest pending task is claimable or 0, 1 if paused, then totals: enqueued,
--   completed, attempts failed, leases expired; and samples of them as lib/samples.lua has them
-- @include queue
-- @include rows
-- @include totals
local LOOK = 20 -- at the heads of the lists, where entries of cancelled tasks may stand
local heads, oldest = {}, math.huge
for priority = 0, 9 do
  for _, id in ipairs(redis.call('LRANGE', r[priority], 0, LOOK - 1)) do heads[#heads + 1] = id end
end
for _, member in ipairs(redis.call('ZRANGE', kw, 0, LOOK - 1)) do
  heads[#heads + 1] = member:sub(-7)
end
for _, row in ipairs(read_rows(heads)) do
  if row and row[STATE] == PENDING then oldest = math.min(oldest, row[TIME]) end
end
local got = redis.call('HMGET', s, 'purging1', 'purging2', 'enqueued', 'completed', 'failed',
  'expired', 'samples')
for i = 1, 6 do got[i] = tonumber(got[i]) or 0 end
local blocked = redis.call('ZCARD', y) - got[1]
local scheduled, leased = redis.call('ZCARD', z) - got[2], redis.call('ZCARD', l)
return {
  'OK', Q.now, unended() - blocked - scheduled - leased, scheduled, blocked, leased,
  redis.call('ZCARD', t), redis.call('ZCARD', d), redis.call('ZCARD', c), redis.call('ZCARD', a),
  oldest < math.huge and oldest or 0, Q.paused and 1 or 0,
  got[3], got[4], got[5], got[6], got[7] or '',
}
