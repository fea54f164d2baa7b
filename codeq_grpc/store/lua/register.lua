#!lua
-- Gives a queue its number, once. Numbers are milliseconds since 2024, or the last one plus one, so
-- that a store that lost its latest writes does not give one out twice. The names also stand in
-- order, so that those of a tenant can be counted.
-- KEYS: last numbers names order
-- ARGV: tenant/command, or tenant/ for its calendar, which is no queue; number it had
--   if the store lost it, or 0; queues that the tenant may have, or 0 for any number
-- Reply: OK, number; FULL, how many it has
local EPOCH = 1704067200000
local known = redis.call('HGET', names, ARGV[1])
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
local number, most = tonumber(ARGV[2]), tonumber(ARGV[3])
if known then
  -- Another server was quicker to register what the store had lost: old ids lead there too.
  if number > 0 then redis.call('HSETNX', numbers, number, ARGV[1]) end
  return { 'OK', tonumber(known) }
end
if redis.call('ZCARD', order) < redis.call('HLEN', names) then
  -- Names from before there was an order.
  local all = redis.call('HGETALL', names)
  for i = 1, #all, 2 do redis.call('ZADD', order, 0, all[i]) end
end
if most > 0 then
  -- '0' follows '/', which no tenant's name has.
  local tenant = ARGV[1]:match('^[^/]*')
  local had = redis.call('ZLEXCOUNT', order, '(' .. tenant .. '/', '(' .. tenant .. '0')
  if redis.call('ZSCORE', order, ARGV[1]) then had = had - 1 end -- a registration that broke off
  if had >= most then return { 'FULL', had } end
end
if number == 0 or redis.call('HEXISTS', numbers, number) == 1 then
  number = math.max((tonumber(redis.call('GET', last)) or 0) + 1, ms)
end
redis.call('SET', last, math.max(number, tonumber(redis.call('GET', last)) or 0))
redis.call('HSET', numbers, number, ARGV[1])
redis.call('ZADD', order, 0, ARGV[1])
redis.call('HSET', names, ARGV[1], number)
return { 'OK', number }
