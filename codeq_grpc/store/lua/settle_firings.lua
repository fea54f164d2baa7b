#!lua flags=allow-oom
-- Notes what came of what was owed to firings.
-- KEYS: s m t f g o p x
-- ARGV: of each name; MADE, SKIPPED, AGAIN or CANCELLED; id of the task, reason, or time in ms
-- Reply: OK, how many firings are owed now
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include schedules_written
-- @include firings
-- @include firings_written
-- @include ended
local words = {}
function words.MADE(one, row, task)
  if one.state == TO_ENQUEUE then
    one.state, one.text, row.fired = OPEN, task, row.fired + 1
    owing[one.name] = one.cancel == 1 and C.now
    alter(one)
    keep(one.id, row)
  end
end

function words.SKIPPED(one, row, reason)
  if one.state == TO_ENQUEUE then
    one.state, one.text, row.refused = SKIPPED, reason, row.refused + 1
    alter(one)
    keep(one.id, row)
    close(one, row)
  end
end

function words.AGAIN(one, _, time)
  if one.state == TO_ENQUEUE or one.cancel == 1 then owing[one.name] = tonumber(time) end
end

function words.CANCELLED(one)
  one.cancel = 0
  if one.state == OPEN then owing[one.name] = false end
  alter(one)
end

each_open(3, function(one, row, base) words[ARGV[base + 1]](one, row, ARGV[base + 2]) end)
write_firings()
return { 'OK', owed }
