-- The calendar: the store's clock, read once, as lib/queue.lua has it. `C.first` is the next number
-- to issue, `C.now` the time in Unix ms. Needs s.
local EPOCH, LITTLE = 1704067200000, 2000
local function open_calendar()
  local last = tonumber(redis.call('HGET', s, 'clk')) or 0
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
  local last_ms = math.floor(last / 4096)
  local now = last_ms - ms > LITTLE and ms or math.max(ms, last_ms)
  return { first = math.max(last + 1, now * 4096), now = now + EPOCH }
end
local C = open_calendar()
