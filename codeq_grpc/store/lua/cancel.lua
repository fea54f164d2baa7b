#!lua flags=allow-oom
-- Cancels tasks: at once if no worker holds them, otherwise by asking the worker.
-- KEYS: s w m o z l y t d c a e g k kw p x r
-- ARGV: error to keep, then ids
-- Reply: OK, now, outbox entries, then of each CANCELLED, REQUESTED, ENDED or UNKNOWN; state;
--   fence and owner of the lease if one is held
-- @include queue
-- @include rows
-- @include claims
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
local ids, reply = { unpack(ARGV, 2) }, { 'OK', Q.now, 0 }
local function cancel(id, row)
  if not row then return 'UNKNOWN' end
  if row[STATE] == IN_PROGRESS then
    put(fields, o, id .. 'c', ARGV[1])
    set_flag(row, CANCELLING, true)
    change(id, row)
    return 'REQUESTED'
  end
  if row[STATE] >= COMPLETED then return row[STATE] == CANCELLED and 'CANCELLED' or 'ENDED' end
  put(fields, o, id .. 'e', ARGV[1])
  count('cancelled', 1)
  move(id, row, CANCELLED, Q.now)
  return 'CANCELLED'
end
for i, row in ipairs(read_rows(ids)) do
  row = changed[ids[i]] or row
  local word, n = cancel(ids[i], row), #reply
  local held = word == 'REQUESTED'
  reply[n + 1], reply[n + 2] = word, row and row[STATE] or 0
  reply[n + 3], reply[n + 4] = held and row[FENCE] or 0, held and owner(row) or ''
end
if #order > 0 then flush() end
reply[3] = owed
return reply
