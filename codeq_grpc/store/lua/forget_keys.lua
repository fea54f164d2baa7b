#!lua flags=allow-oom
-- Forgets API keys that ended a while ago; or, to make room, those of a tenant that have ended. The
-- entry in `ends` leads here, so it goes last.
-- KEYS: rows tenants ends used
-- ARGV: ms for which a key that has ended is kept, how many to forget, tenant or ''
-- Reply: OK, how many were forgotten
-- @include api_key
local keep, most, tenant = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local before = time[1] * 1000 + math.floor(time[2] / 1000) - keep
local ids, places = {}, {}

local function look_at(id, place)
  local key = api_key(redis.call('HGET', rows, id))
  if key and not (key.ended and key.ended <= before) then
    if not place and key.ended then
      redis.call('ZADD', ends, string.format('%.0f', key.ended), id)
    elseif not place then
      redis.call('ZREM', ends, id)
    end
    return
  end
  ids[#ids + 1] = id
  places[#places + 1] = place or key and key.place .. id
end

if tenant == '' then
  local found = redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', before),
    'LIMIT', 0, most)
  for _, id in ipairs(found) do look_at(id) end
else
  local found = redis.call('ZRANGEBYLEX', tenants, '[' .. tenant .. '/', '(' .. tenant .. '0')
  for _, member in ipairs(found) do
    if #ids < most then look_at(member:sub(-12), member) end
  end
end
if #places > 0 then redis.call('ZREM', tenants, unpack(places)) end
if #ids > 0 then
  redis.call('HDEL', used, unpack(ids))
  redis.call('HDEL', rows, unpack(ids))
  redis.call('ZREM', ends, unpack(ids))
end
return { 'OK', #ids }
