#!lua flags=allow-oom
-- Notes that tasks of firings have ended: counts them, pauses what fails too often, and fires what
-- waited for them.
-- KEYS: s m t f g o p x
-- ARGV: of each name, id of the task, state (0: it is gone), when it began and ended
-- Reply: OK, how many firings are owed now
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include schedules_written
-- @include firings
-- @include firings_written
-- @include ended
local COMPLETED, FAILED, EXPIRED = 5, 6, 8

local function count(row, state, began, ended)
  if state == COMPLETED then
    row.completed, row.in_row = row.completed + 1, 0
    if began > 0 then row.run = row.run + math.max(0, ended - began) end
  elseif state == FAILED or state == EXPIRED then
    row.failed, row.in_row = row.failed + 1, row.in_row + 1
  end
  local is_failing = row.pause_after > 0 and row.in_row >= row.pause_after
  if is_failing and not is(row, PAUSED) then
    mark(row, PAUSED, true)
    mark(row, FAILING, true)
    row.reason = ''
  end
end

each_open(5, function(one, row, base)
  local state, began, ended =
    tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4])
  if one.state == TO_ENQUEUE then row.fired = row.fired + 1 end
  one.state, one.text, one.began, one.ended, one.cancel = state, ARGV[base + 1], began, ended, 0
  count(row, state, began, ended)
  alter(one)
  keep(one.id, row)
  close(one, row)
end)
write_firings()
return { 'OK', owed }
