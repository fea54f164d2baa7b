#!lua flags=allow-oom
-- Notes that API keys are used, by the minute.
-- KEYS: rows used
-- ARGV: ids
-- Reply: OK
local minute = math.floor(redis.call('TIME')[1] / 60)
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', rows, id) == 1 then redis.call('HSET', used, id, minute) end
end
return { 'OK' }
