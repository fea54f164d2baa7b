#!lua flags=allow-oom
-- Asks for a server to be told of every change in this queue, for a while.
-- KEYS: s
-- ARGV: server, for how many ms; 0 takes it back
-- Reply: OK
-- @include queue
local servers, span = {}, tonumber(ARGV[2])
for server, till in (Q.watch or ''):gmatch('(%S+):(%d+)') do
  if server ~= ARGV[1] and tonumber(till) > Q.now then
    servers[#servers + 1] = server .. ':' .. till
  end
end
if span > 0 then servers[#servers + 1] = ARGV[1] .. ':' .. ('%d'):format(Q.now + span) end
if #servers > 0 then
  redis.call('HSET', s, 'watch', table.concat(servers, ' '))
else
  redis.call('HDEL', s, 'watch')
end
return { 'OK' }
