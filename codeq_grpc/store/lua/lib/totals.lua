-- How many tasks have not ended. Needs s m t d c a.
local function unended()
  local number = redis.call('HLEN', m)
  for _, index in ipairs({ t, d, c, a }) do number = number - redis.call('ZCARD', index) end
  for _, purging in ipairs(redis.call('HMGET', s, 'purging1', 'purging2', 'purging3')) do
    number = number - (tonumber(purging) or 0)
  end
  return number
end
