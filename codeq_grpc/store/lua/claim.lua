#!lua flags=allow-oom
-- Leases pending tasks, highest priority first, after promoting what is due. Finding none, it
-- notes that the server waits. Allowed when memory is short: claims come before what frees it.
-- KEYS: s w m b z l r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: want (1 to 500), bytes of specs at most (one task always fits), lease_ms asked for or 0,
--   default lease_ms, server to wake or '', `>B` length of the owner stream, it and the worker,
--   time in ms after which nobody waits for the reply any more, or 0
-- Reply: TASKS, now, then id, meta row and spec of each; EMPTY, now, next due time or 0; LATE, now
-- @include clock
-- @include rows
-- @include push
-- @include promote
-- @include wake
local s, w, m, b, z, l = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local want, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local asked, default = tonumber(ARGV[3]), tonumber(ARGV[4])
local server, claimant = ARGV[5], ARGV[6]
local SCAN = 2000
local first, now = read_clock(s)
local function list(priority) return KEYS[7 + priority] end
local not_after = tonumber(ARGV[7])
if not_after > 0 and now > not_after then return { 'LATE', now } end
-- More than wanted: which of them go first is a matter of priority, not of who was due first.
local promoted = promote(z, m, list, now, 500)

local ids, rows, seen, trims, bytes, scanned, full = {}, {}, {}, {}, 0, 0, false
local function take_from(priority)
  local at, more = 0, true
  while more and not full and #ids < want do
    local ask = want - #ids
    local chunk = redis.call('LRANGE', list(priority), at, at + ask - 1)
    more = #chunk == ask
    local metas = read_rows(m, chunk)
    for i, id in ipairs(chunk) do
      local row = metas[i]
      if row and row[STATE] == PENDING and row[PRIORITY] == priority and not seen[id] then
        if #ids > 0 and bytes + row[SIZE] > max_bytes then
          full = true
          break
        end
        bytes = bytes + row[SIZE]
        ids[#ids + 1], rows[#ids + 1], seen[id] = id, row, true
      end
      at = at + 1
      scanned = scanned + 1
    end
    if scanned >= SCAN then full = true end
  end
  if at > 0 then trims[priority] = at end
end
for priority = 9, 0, -1 do take_from(priority) end

if #ids == 0 then
  for priority, at in pairs(trims) do redis.call('LTRIM', list(priority), at, -1) end
  if full then return { 'TASKS', now } end
  if server ~= '' then redis.call('ZADD', w, now, server) end
  return { 'EMPTY', now, tonumber(redis.call('ZRANGE', z, 0, 0, 'WITHSCORES')[2] or 0) }
end

local specs = redis.call('HMGET', b, unpack(ids))
local expiries, metas, reply = {}, {}, { 'TASKS', now }
for i, id in ipairs(ids) do
  local row = rows[i]
  local lease = asked > 0 and asked or row[LEASE] > 0 and row[LEASE] or default
  row.claim = struct.pack('>I4I8', lease, row[TIME]) .. claimant
  row[STATE], row[ATTEMPT], row[ENDING] = IN_PROGRESS, row[ATTEMPT] + 1, 0
  row[FENCE], row[TIME], row[CHANGED] = first + i - 1, now + lease, now
  local raw = pack_row(row)
  expiries[2 * i - 1], expiries[2 * i] = row[TIME], id
  metas[2 * i - 1], metas[2 * i] = id, raw
  reply[3 * i], reply[3 * i + 1], reply[3 * i + 2] = id, raw, specs[i]
end
redis.call('HSET', s, 'clk', first + #ids - 1)
redis.call('ZADD', l, unpack(expiries))
redis.call('HSET', m, unpack(metas))
for priority, at in pairs(trims) do redis.call('LTRIM', list(priority), at, -1) end
wake(w, promoted - #ids)
return reply
