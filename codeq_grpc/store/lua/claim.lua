#!lua flags=allow-oom
-- Leases pending tasks, highest priority first, after promoting what is due and within the limits
-- of the queue. Finding none, it notes that the server waits. Allowed when memory is short: claims
-- come before what frees it.
-- KEYS: s w h m b o z l y t d c a e g k kw p x r
-- ARGV: bytes of specs at most (one task always fits), default lease_ms, server to wake or '',
--   time in ms after which nobody waits for the reply any more, or 0; server that claims or '',
--   number of the claim among its calls; then of each claimant, longest waiting first, want (500
--   in all), lease_ms asked for or 0, `>B` length of the owner stream, it and the worker
-- Reply: TASKS, now, how many, when to look again or 0, 1 if the server is noted, -1 if there may
--   be more; how many each claimant got; then id, row and spec of each; then id and checkpoint of
--   those that have one; or EMPTY, now, when to look again or 0, 1 if the server is noted; or
--   LATE, now
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
-- @include bodies
-- @include receipts
-- @include share
local max_bytes, default, server = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local not_after, me, number = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local claimants, want = {}, 0
if not_after > 0 and Q.now > not_after then return { 'LATE', Q.now } end
if outdated(me, number) then return { 'EMPTY', Q.now, 0, 0 } end
if Q.lease > 0 then default = Q.lease end
for at = 7, #ARGV, 3 do
  local one = { want = tonumber(ARGV[at]), lease = tonumber(ARGV[at + 1]), who = ARGV[at + 2] }
  claimants[#claimants + 1], want = one, want + one.want
end

-- When the queue has no more to give, the server is noted, unless the time to look is known.
local function rest(look_at, held_up)
  local note = server ~= '' and look_at == nil
  if note then redis.call('ZADD', w, Q.now, server) end
  look_at = look_at or tonumber(redis.call('ZRANGE', z, 0, 0, 'WITHSCORES')[2] or 0)
  -- What is due and may not be claimed is no reason to look again at once.
  if held_up and look_at <= Q.now then look_at = 0 end
  return look_at, note and 1 or 0
end

local function empty(look_at, held_up)
  hand_out(me, number, {})
  return { 'EMPTY', Q.now, rest(look_at, held_up) }
end

-- The bucket of max_claims_per_second holds one second's worth, one claim at least.
local tokens = math.huge
if Q.rate > 0 then
  local bucket = redis.call('HMGET', s, 'tokens', 'filled')
  local since = Q.now - (tonumber(bucket[2]) or 0)
  if since < 0 then -- The clock went back: from here on.
    redis.call('HSET', s, 'filled', Q.now)
    since = 0
  end
  tokens = math.min(math.max(Q.rate, 1), (tonumber(bucket[1]) or 0) + since * Q.rate / 1000)
end
if Q.most > 0 then want = math.min(want, Q.most - redis.call('ZCARD', l)) end
if Q.paused or want < 1 then return empty(nil, true) end
-- The next token is waited for, 20 ms at least: what has gathered by then goes in one claim.
if tokens < 1 then return empty(Q.now + math.max(20, math.ceil((1 - tokens) * 1000 / Q.rate))) end
want = math.min(want, math.floor(tokens))

-- More than wanted: which of them go first is a matter of priority, not of who was due first.
local promoted = promote(500)
if promoted > 0 then
  for priority, ids in pairs(tails) do write('RPUSH', r[priority], ids) end
  tails = {}
end
local ids, rows, trims, full = pick(want, max_bytes)
local specs, gaps
ids, rows, specs, gaps = with_bodies(ids, rows)
full = full or gaps
local reply, checkpoints = { 'TASKS', Q.now, #ids, 0, -1 }, {}
share(claimants, #ids)
if #ids > 0 then hand_out(me, number, ids) end
local i = 0
for place, one in ipairs(claimants) do
  reply[5 + place] = one.got
  for _ = 1, one.got do
    i = i + 1
    local id, row = ids[i], rows[i]
    local lease = one.lease > 0 and one.lease or row[LEASE] > 0 and row[LEASE] or default
    row[CLAIM] = struct.pack('>I4I8I8', lease, row[TIME], Q.now) .. one.who
    row[ATTEMPT], row[ENDING], row[FENCE] = row[ATTEMPT] + 1, 0, Q.first + i - 1
    local plain = PLAIN[row[FLAGS]]
    local till = plain and Q.now + lease or capped(row, Q.now, Q.now + lease)
    move(id, row, IN_PROGRESS, till)
    if not plain and has(row, HAS_CHECKPOINT) then checkpoints[#checkpoints + 1] = id end
  end
end
if #ids > 0 then
  redis.call('HSET', s, 'clk', Q.first + #ids - 1)
  if Q.rate > 0 then redis.call('HSET', s, 'tokens', tokens - #ids, 'filled', Q.now) end
end
ready = promoted - #ids
if #order > 0 or next(gone) or next(added) then flush() end
local at = 5 + #claimants
for n, id in ipairs(ids) do
  reply[at + 1], reply[at + 2], reply[at + 3], at = id, raws[id], specs[n], at + 3
end
for _, id in ipairs(checkpoints) do
  reply[at + 1], reply[at + 2], at = id, redis.call('HGET', o, id .. 'k'), at + 2
end
for priority, done in pairs(trims) do redis.call('LTRIM', r[priority], done, -1) end
if #ids == 0 and not full then return empty() end
if #ids < want and not full then reply[4], reply[5] = rest() end
return reply
