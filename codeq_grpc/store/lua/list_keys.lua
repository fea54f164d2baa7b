#!lua flags=no-writes
-- Lists the API keys of a tenant, the newest first.
-- KEYS: rows tenants used
-- ARGV: tenant, place after which to begin or '', how many, bytes of rows beyond which it stops
-- Reply: OK, then place, row or '' and minute of last use or '' of each
local from = ARGV[2] == '' and ARGV[1] .. '0' or ARGV[1] .. '/' .. ARGV[2]
local found = redis.call('ZREVRANGEBYLEX', tenants, '(' .. from, '[' .. ARGV[1] .. '/',
  'LIMIT', 0, ARGV[3])
local reply, left = { 'OK' }, tonumber(ARGV[4])
for _, member in ipairs(found) do
  if left <= 0 then break end
  local id, n = member:sub(-12), #reply
  local row = redis.call('HGET', rows, id) or ''
  reply[n + 1], reply[n + 2] = member:sub(#ARGV[1] + 2), row
  reply[n + 3] = redis.call('HGET', used, id) or ''
  left = left - #row
end
return reply
