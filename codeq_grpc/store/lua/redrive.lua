#!lua
-- Makes FAILED, CANCELLED and EXPIRED tasks claimable again, with fresh attempts. An expire_time
-- that would have passed by then is dropped.
-- KEYS: s w m z l y t d c a e g k kw p x r
-- ARGV: id and delay in ms of each
-- Reply: OK, now, then of each REDRIVEN, REFUSED or UNKNOWN, and its state
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
local ids, reply = {}, { 'OK', Q.now }
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end

local function renew_expiry(id, row, time)
  local parts = fixed(row)
  if not parts.expiry then return end
  if parts.expiry > time then return put(added, e, parts.expiry, id) end
  local at = #parts.policy
  row[FIXED] = row[FIXED]:sub(1, at) .. row[FIXED]:sub(at + 9)
  row.parts = nil
  set_flag(row, HAS_EXPIRY, false)
  put(gone, e, id) -- a purge leaves it till it is swept
end

local function redrive(id, row, delay)
  if not row then return 'UNKNOWN' end
  if row[STATE] <= COMPLETED then return 'REFUSED' end
  row[ATTEMPT], row[ENDING] = 0, 0
  if row[STATE] ~= FAILED then set_flag(row, TWICE, true) end
  move(id, row, delay > 0 and SCHEDULED or PENDING, Q.now + delay)
  renew_expiry(id, row, Q.now + delay)
  return 'REDRIVEN'
end

for i, row in ipairs(read_rows(ids)) do
  row = changed[ids[i]] or row
  reply[#reply + 1] = redrive(ids[i], row, tonumber(ARGV[2 * i]))
  reply[#reply + 1] = row and row[STATE] or 0
end
if #order > 0 then flush() end
return reply
