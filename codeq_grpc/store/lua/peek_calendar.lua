#!lua flags=no-writes
-- Tells when somebody must look at a calendar next, and changes nothing.
-- KEYS: s t x
-- ARGV: none
-- Reply: OK, now, and the time or 0: a schedule is due, a firing is owed something
-- @include calendar
local soonest = math.huge
for _, index in ipairs({ t, x }) do
  local time = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  if time then soonest = math.min(soonest, tonumber(time)) end
end
return { 'OK', C.now, soonest < math.huge and soonest or 0 }
