#!lua
-- Makes an API key, unless its tenant has as many as it may. The row is last: without one, what
-- else there is of a key means nothing.
-- KEYS: rows tenants ends
-- ARGV: id, tenant, life in ms or 0, how many a tenant may have, the row without its three times
-- Reply: OK, row | TAKEN | FULL
local id, tenant, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HEXISTS', rows, id) == 1 then return { 'TAKEN' } end
local count = redis.call('ZLEXCOUNT', tenants, '[' .. tenant .. '/', '(' .. tenant .. '0')
if count >= tonumber(ARGV[4]) then return { 'FULL' } end
local expires = life > 0 and now + life or 0
local row = struct.pack('>I8I8I8', now, expires, 0) .. ARGV[5]
redis.call('ZADD', tenants, 0, string.format('%s/%013.0f', tenant, now) .. id)
if life > 0 then redis.call('ZADD', ends, string.format('%.0f', expires), id) end
redis.call('HSET', rows, id, row)
return { 'OK', row }
