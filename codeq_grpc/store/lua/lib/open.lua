-- How many tasks of a schedule have not ended. Needs p.
local function open_count(number)
  return redis.call('ZLEXCOUNT', p, '[' .. number, '(' .. number .. ('\255'):rep(8))
end
