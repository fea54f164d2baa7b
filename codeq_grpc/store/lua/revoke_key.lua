#!lua flags=allow-oom
-- Revokes an API key, for good; one that is revoked stays so since then.
-- KEYS: rows ends
-- ARGV: id, tenant
-- Reply: OK | UNKNOWN
-- @include api_key
local row = redis.call('HGET', rows, ARGV[1])
local key = api_key(row)
if not key or key.tenant ~= ARGV[2] then return { 'UNKNOWN' } end
if key.revoked > 0 then return { 'OK' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not key.ended or now < key.ended then
  redis.call('ZADD', ends, string.format('%.0f', now), ARGV[1])
end
redis.call('HSET', rows, ARGV[1], row:sub(1, 16) .. struct.pack('>I8', now) .. row:sub(25))
return { 'OK' }
