#!lua flags=allow-oom
-- Leases pending tasks, highest priority first, after promoting what is due and within the limits
-- of the queue. Finding none, it notes that the server waits. Allowed when memory is short: claims
-- come before what frees it.
-- KEYS: s w m b o z l y t d c a e g k kw p x r
-- ARGV: want (1 to 500), bytes of specs at most (one task always fits), lease_ms asked for or 0,
--   default lease_ms, server to wake or '', `>B` length of the owner stream, it and the worker,
--   time in ms after which nobody waits for the reply any more, or 0
-- Reply: TASKS, now, how many, then id, row and spec of each, then id and checkpoint of those that
--   have one; EMPTY, now, when to look again or 0, 1 if the server is noted; LATE, now
-- @include queue
-- @include rows
-- @include claims
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
-- @include promote
-- @include pick
local want, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local asked, default = tonumber(ARGV[3]), tonumber(ARGV[4])
local server, claimant, not_after = ARGV[5], ARGV[6], tonumber(ARGV[7])
if not_after > 0 and Q.now > not_after then return { 'LATE', Q.now } end
if Q.lease > 0 then default = Q.lease end

local function empty(look_at, held_up)
  local note = server ~= '' and look_at == nil
  if note then redis.call('ZADD', w, Q.now, server) end
  look_at = look_at or tonumber(redis.call('ZRANGE', z, 0, 0, 'WITHSCORES')[2] or 0)
  -- What is due and may not be claimed is no reason to look again at once.
  if held_up and look_at <= Q.now then look_at = 0 end
  return { 'EMPTY', Q.now, look_at, note and 1 or 0 }
end

-- The bucket of max_claims_per_second holds one second's worth, one claim at least.
local tokens = math.huge
if Q.rate > 0 then
  local bucket = redis.call('HMGET', s, 'tokens', 'filled')
  local since = Q.now - (tonumber(bucket[2]) or 0)
  tokens = math.min(math.max(Q.rate, 1), (tonumber(bucket[1]) or 0) + since * Q.rate / 1000)
end
if Q.most > 0 then want = math.min(want, Q.most - redis.call('ZCARD', l)) end
if Q.paused or want < 1 then return empty(nil, true) end
if tokens < 1 then return empty(Q.now + math.ceil((1 - tokens) * 1000 / Q.rate)) end
want = math.min(want, math.floor(tokens))

-- More than wanted: which of them go first is a matter of priority, not of who was due first.
local promoted = promote(500)
if promoted > 0 then
  for priority, ids in pairs(tails) do write('RPUSH', r[priority], ids) end
  tails = {}
end
local ids, rows, trims, full = pick(want, max_bytes)
local specs = #ids > 0 and redis.call('HMGET', b, unpack(ids)) or {}
local reply, checkpoints = { 'TASKS', Q.now, #ids }, {}
for i, id in ipairs(ids) do
  local row = rows[i]
  local lease = asked > 0 and asked or row[LEASE] > 0 and row[LEASE] or default
  row.claim = struct.pack('>I4I8I8', lease, row[TIME], Q.now) .. claimant
  row[ATTEMPT], row[ENDING], row[FENCE] = row[ATTEMPT] + 1, 0, Q.first + i - 1
  move(id, row, IN_PROGRESS, capped(row, Q.now, Q.now + lease))
  if has(row, HAS_CHECKPOINT) then checkpoints[#checkpoints + 1] = id end
  reply[3 * i + 1], reply[3 * i + 2], reply[3 * i + 3] = id, pack_row(row), specs[i]
end
for _, id in ipairs(checkpoints) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('HGET', o, id .. 'k')
end
if #ids > 0 then
  redis.call('HSET', s, 'clk', Q.first + #ids - 1)
  if Q.rate > 0 then redis.call('HSET', s, 'tokens', tokens - #ids, 'filled', Q.now) end
end
ready = promoted - #ids
if #order > 0 or next(gone) or next(added) then flush() end
for priority, at in pairs(trims) do redis.call('LTRIM', r[priority], at, -1) end
if #ids == 0 and not full then return empty() end
return reply
