-- The queue: the store's clock and the settings, read once. `Q.first` is the next number to issue
-- (ids and fences: milliseconds since 2024 shifted by 12 bits, or the last one plus one), `Q.now`
-- the time in Unix ms, never less than the last one seen. Settings as store/settings.py packs
-- them; 0, 255 and '' are unset. Needs s.
local EPOCH = 1704067200000
local function open_queue()
  local got = redis.call('HMGET', s, 'clk', 'cfg', 'purged', 'watch')
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
  local last = tonumber(got[1]) or 0
  local q = {
    first = math.max(last + 1, ms * 4096),
    now = math.max(ms, math.floor(last / 4096)) + EPOCH,
    purged = tonumber(got[3]) or 0, watch = got[4], flags = 0, priority = 255, attempts = 0,
    lease = 0, most = 0, per_key = 0, rate = 0, backlog = 0, retention = 0, policy = '',
    types = '',
  }
  if got[2] then
    local at
    q.flags, q.priority, q.attempts, q.lease, q.most, q.per_key, q.rate, q.backlog, q.retention,
      at = struct.unpack('>BBBI4I4I4dI8I8', got[2])
    q.policy, q.types = got[2]:sub(at, at + 23), got[2]:sub(at + 24)
  end
  q.paused, q.retain = q.flags % 2 == 1, q.flags >= 2
  return q
end
local Q = open_queue()
