#!lua flags=allow-oom
-- Notes what the workers of a tenant do on a server; forgets servers not heard of for 15 s.
-- KEYS: live
-- ARGV: server, report or '' when it has no worker
-- Reply: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, gone = redis.call('HGETALL', live), {}
for i = 1, #all, 2 do
  local told = struct.unpack('>I8', all[i + 1])
  if told + 15000 < now or all[i] == ARGV[1] then gone[#gone + 1] = all[i] end
end
if #gone > 0 then redis.call('HDEL', live, unpack(gone)) end
if ARGV[2] ~= '' then redis.call('HSET', live, ARGV[1], struct.pack('>I8', now) .. ARGV[2]) end
return { 'OK' }
