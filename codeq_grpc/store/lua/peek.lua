#!lua flags=no-writes
-- Tells when somebody must look at a queue next, and changes nothing.
-- KEYS: s z l e x
-- ARGV: none
-- Reply: OK, now, and the time or 0: a scheduled task or a lease is due, a task expires, something
--   is owed; now if there is something to sweep or a sample is to be taken
-- @include queue
-- @include samples
local todo, soonest = redis.call('HMGET', s, 'sweep', 'unpark'), math.huge
for _, index in ipairs({ z, l, e, x }) do
  local time = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  if time then soonest = math.min(soonest, tonumber(time)) end
end
if todo[1] or todo[2] or sample_due() then soonest = Q.now end
return { 'OK', Q.now, soonest < math.huge and soonest or 0 }
