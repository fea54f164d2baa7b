#!lua flags=allow-oom
-- Extends leases, never shortening one, and keeps the progress told with them.
-- KEYS: s m o l g
-- ARGV: of each lease id, `>I8I4` fence and extension in ms (0: that of the claim), progress and
--   checkpoint, '' when nothing is told
-- Reply: OK, now, then of each EXTENDED, CANCEL, LOST or UNKNOWN, and why it is to be cancelled
-- @include queue
-- @include rows
-- @include claims
-- @include write
-- @include tell
local ids, rows, told, texts, reply = {}, {}, {}, {}, { 'OK', Q.now }
for i = 1, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end

local function extend(id, row, by)
  local lease, _, start = claim_of(row)
  if by == 0 then by = lease end
  row[TIME] = math.max(row[TIME], capped(row, start, Q.now + by))
  row[CHANGED] = Q.now
  told[id] = row
end

local function keep(field, bytes)
  if bytes == '' then return end
  texts[#texts + 1] = field
  texts[#texts + 1] = bytes
end

for i, row in ipairs(read_rows(ids)) do
  local id, fence, by = ids[i], struct.unpack('>I8I4', ARGV[4 * i - 2])
  row = rows[id] or row -- the same, so that the longest of two extensions of one lease holds
  rows[id] = row
  local word, why = 'EXTENDED', ''
  if not row then
    word = 'UNKNOWN'
  elseif row[STATE] ~= IN_PROGRESS or row[FENCE] ~= fence or row[TIME] <= Q.now then
    word = 'LOST'
  else
    extend(id, row, by)
    keep(id .. 'p', ARGV[4 * i - 1])
    keep(id .. 'k', ARGV[4 * i])
    if ARGV[4 * i] ~= '' then set_flag(row, HAS_CHECKPOINT, true) end
    if has(row, CANCELLING) then word, why = 'CANCEL', redis.call('HGET', o, id .. 'c') or '' end
  end
  reply[#reply + 1] = word
  reply[#reply + 1] = why
end

local expiries, metas, names = {}, {}, {}
for id, row in pairs(told) do
  names[#names + 1] = id
  expiries[#expiries + 1], expiries[#expiries + 2] = row[TIME], id
  metas[#metas + 1], metas[#metas + 2] = id, pack_row(row)
end
-- The row before the index: the reaper mends one that is too early, and waits for a late one.
write('HSET', o, texts)
write('HSET', m, metas)
write('ZADD', l, expiries)
if #texts > 0 then tell_watchers(names) end
return reply
