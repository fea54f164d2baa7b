-- Samples of the totals, `>I8I8I8I8`: time, tasks enqueued and completed, attempts failed; one
-- every ten seconds at most, the last seven, and none while nothing happens. Needs s.

-- The samples so far and the totals, if another one is to be taken.
local function sample_due()
  local got = redis.call('HMGET', s, 'samples', 'enqueued', 'completed', 'failed')
  local samples, totals = got[1] or '', {}
  for i = 1, 3 do totals[i] = tonumber(got[i + 1]) or 0 end
  local function total_at(place)
    local time, enqueued, completed, failed = struct.unpack('>I8I8I8I8', samples, place)
    return time, enqueued + completed + failed
  end
  local now_total = totals[1] + totals[2] + totals[3]
  if samples ~= '' then
    local time, last = total_at(#samples - 31)
    local _, first = total_at(1)
    if math.abs(Q.now - time) < 10000 or now_total == last and last == first then return nil end
  end
  return samples, totals
end

local function sample() -- luacheck: ignore
  local samples, totals = sample_due()
  if not samples then return end
  samples = samples .. struct.pack('>I8I8I8I8', Q.now, unpack(totals))
  redis.call('HSET', s, 'samples', samples:sub(-7 * 32))
end
