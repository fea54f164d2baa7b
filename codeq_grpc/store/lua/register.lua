#!lua
-- Gives a queue its number, once. Numbers are milliseconds since 2024, or the last one plus one, so
-- that a store that lost its latest writes does not give one out twice.
-- KEYS: last numbers names
-- ARGV: tenant/command, number it had if the store lost it, or 0
-- Reply: OK, number
local EPOCH = 1704067200000
local known = redis.call('HGET', names, ARGV[1])
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
local number = tonumber(ARGV[2])
if known then
  -- Another server was quicker to register what the store had lost: old ids lead there too.
  if number > 0 then redis.call('HSETNX', numbers, number, ARGV[1]) end
  return { 'OK', tonumber(known) }
end
if number == 0 or redis.call('HEXISTS', numbers, number) == 1 then
  number = math.max((tonumber(redis.call('GET', last)) or 0) + 1, ms)
end
redis.call('SET', last, math.max(number, tonumber(redis.call('GET', last)) or 0))
redis.call('HSET', numbers, number, ARGV[1])
redis.call('HSET', names, ARGV[1], number)
return { 'OK', number }
