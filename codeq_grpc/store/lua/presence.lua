#!lua flags=no-writes
-- Reads what the workers of a tenant do, on servers heard of within 15 s.
-- KEYS: live
-- ARGV: none
-- Reply: OK, then server and report of each
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, reply = redis.call('HGETALL', live), { 'OK' }
for i = 1, #all, 2 do
  if struct.unpack('>I8', all[i + 1]) + 15000 >= now then
    reply[#reply + 1] = all[i]
    reply[#reply + 1] = all[i + 1]:sub(9)
  end
end
return reply
