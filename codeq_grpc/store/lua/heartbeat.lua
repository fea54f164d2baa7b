#!lua flags=allow-oom
-- Extends leases; never shortens one. Allowed when memory is short: rows keep their size.
-- KEYS: s m l
-- ARGV: id, fence and extension in ms (0: that of the claim) of each lease
-- Reply: OK, now, then of each EXTENDED, LOST or UNKNOWN
-- @include clock
-- @include rows
-- @include claims
local s, m, l = KEYS[1], KEYS[2], KEYS[3]
local _, now = read_clock(s)
local ids = {}
for i = 1, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local expiries, metas, reply = {}, {}, { 'OK', now }
local rows = {} -- by id, so that the longest of two extensions of one lease holds
for i, row in ipairs(read_rows(m, ids)) do
  row = rows[ids[i]] or row
  rows[ids[i]] = row
  local fence, extend = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  if not row then
    reply[2 + i] = 'UNKNOWN'
  elseif row[STATE] ~= IN_PROGRESS or row[FENCE] ~= fence or row[TIME] <= now then
    reply[2 + i] = 'LOST'
  else
    if extend == 0 then extend = claim_lease(row) end
    row[TIME], row[CHANGED] = math.max(row[TIME], now + extend), now
    expiries[#expiries + 1] = row[TIME]
    expiries[#expiries + 1] = ids[i]
    metas[#metas + 1] = ids[i]
    metas[#metas + 1] = pack_row(row)
    reply[2 + i] = 'EXTENDED'
  end
end
if #metas > 0 then
  -- The row first: the reaper mends an index that is too early, and waits for one that is too late.
  redis.call('HSET', m, unpack(metas))
  redis.call('ZADD', l, unpack(expiries))
end
return reply
