-- Ends as CANCELLED a task that was to be cancelled while a worker held it. Needs o.
local function cancelled(id, row)
  put(fields, o, id .. 'e', redis.call('HGET', o, id .. 'c') or '')
  put(unneeded, o, id .. 'c')
  set_flag(row, CANCELLING, false)
  count('cancelled', 1)
  move(id, row, CANCELLED, Q.now)
end
