#!lua flags=allow-oom
-- Ends attempts whose lease expired: pending again, at the head, or failed when attempts are used
-- up. Mends what an aborted script left in the index of leases.
-- KEYS: s w m o l d g r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: limit, bytes of the error to keep
-- Reply: OK, now, next expiry or 0, then id, fence and owner of each lease that expired
-- @include clock
-- @include rows
-- @include claims
-- @include push
-- @include wake
-- @include tell_ended
local s, w, m, o, l, d, g = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local EXPIRE = 4
local _, now = read_clock(s)
local ids = redis.call('ZRANGEBYSCORE', l, '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
local groups, dead, texts, metas, finals, late, gone = {}, {}, {}, {}, {}, {}, {}
local ready, expired, reply = 0, 0, { 'OK', now, 0 }
for i, row in ipairs(read_rows(m, ids)) do
  local id = ids[i]
  if row and row[STATE] == IN_PROGRESS and row[TIME] > now then
    late[#late + 1] = row[TIME]
    late[#late + 1] = id
  else
    gone[#gone + 1] = id
  end
  if row and row[STATE] == IN_PROGRESS and row[TIME] <= now then
    if row[ATTEMPT] >= row[MAX] then
      row[STATE], row[TIME] = FAILED, now
      dead[#dead + 1] = now
      dead[#dead + 1] = id
      finals[#finals + 1] = id
    else
      row[STATE], row[TIME] = PENDING, claimable_since(row)
      push(groups, row[PRIORITY], id)
      ready = ready + 1
    end
    row[ENDING], row[CHANGED] = EXPIRE, now
    texts[#texts + 1] = id .. 'e'
    texts[#texts + 1] = ARGV[2]
    metas[#metas + 1] = id
    metas[#metas + 1] = pack_row(row)
    expired = expired + 1
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = id, row[FENCE], owner(row)
  end
end
if #dead > 0 then redis.call('ZADD', d, unpack(dead)) end
for priority, group in pairs(groups) do
  local backwards = {}
  for i, id in ipairs(group) do backwards[#group + 1 - i] = id end
  redis.call('LPUSH', KEYS[8 + priority], unpack(backwards))
end
if expired > 0 then
  redis.call('HSET', o, unpack(texts))
  redis.call('HSET', m, unpack(metas))
end
if #gone > 0 then redis.call('ZREM', l, unpack(gone)) end
if #late > 0 then redis.call('ZADD', l, unpack(late)) end
if expired > 0 then redis.call('HINCRBY', s, 'expired', expired) end
tell_ended(g, finals)
wake(w, ready)
reply[3] = tonumber(redis.call('ZRANGE', l, 0, 0, 'WITHSCORES')[2] or 0)
return reply
