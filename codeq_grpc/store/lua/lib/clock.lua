-- The store's clock, read once. Gives the next number to issue (ids and fences: milliseconds
-- since 2024 shifted by 12 bits, or the last one plus one) and the time in Unix milliseconds,
-- never less than the last one seen.
local EPOCH = 1704067200000
local function read_clock(settings)
  local last = tonumber(redis.call('HGET', settings, 'clk')) or 0
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
  return math.max(last + 1, ms * 4096), math.max(ms, math.floor(last / 4096)) + EPOCH
end
