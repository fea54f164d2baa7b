#!lua flags=allow-oom
-- Pauses or resumes schedules.
-- KEYS: m t
-- ARGV: 1 to pause, reason, then of each id, number and version that it must be of (7 zero bytes
--   and 0 for any), next and act if it is to go on
-- Reply: OK, then of each OK, MISSING or CHANGED
-- @include schedules
-- @include score
-- @include write
-- @include schedules_written
local paused, ids, reply = ARGV[1] == '1', {}, { 'OK' }
for at = 3, #ARGV, 5 do ids[#ids + 1] = ARGV[at] end
for at, row in ipairs(read_schedules(ids)) do
  local base = 3 + 5 * (at - 1)
  row = written[ids[at]] or row
  if not row then
    reply[at + 1] = 'MISSING'
  elseif not is_expected(row, ARGV[base + 1], tonumber(ARGV[base + 2])) then
    reply[at + 1] = 'CHANGED'
  else
    if not paused and is(row, PAUSED) then
      row.next, row.act, row.in_row = tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4]), 0
      mark(row, ENDED, row.next == 0)
    end
    -- Why it is paused stays told when it is paused again and nobody says why.
    if not (paused and is(row, PAUSED) and ARGV[2] == '') then
      mark(row, FAILING, false)
      row.reason = paused and ARGV[2] or ''
    end
    mark(row, PAUSED, paused)
    keep(ids[at], row)
    reply[at + 1] = 'OK'
  end
end
write_schedules()
return reply
