-- The queue: the store's clock and the settings, read once. `Q.first` is the next number to issue
-- (ids and fences: milliseconds since 2024 shifted by 12 bits, or the last one plus one), `Q.now`
-- the time in Unix ms: the store's, but that it stands still when that goes back a little. When it
-- goes back further, numbers go on, and the time goes back too; yet never to where a purge that is
-- not swept yet would take what came after it. Settings as store/settings.py packs them; 0, 255
-- and '' are unset. Needs s.
local EPOCH, LITTLE = 1704067200000, 2000
local function open_queue()
  local got = redis.call('HMGET', s, 'clk', 'cfg', 'purged', 'watch', 'schema')
  local time = redis.call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
  local last, purged = tonumber(got[1]) or 0, tonumber(got[3]) or 0
  local last_ms = math.floor(last / 4096)
  local now = last_ms - ms > LITTLE and ms or math.max(ms, last_ms)
  if purged > 0 then now = math.max(now, purged + 1 - EPOCH) end
  local q = {
    first = math.max(last + 1, now * 4096), now = now + EPOCH, purged = purged, watch = got[4],
    schema = got[5] or '',
    flags = 0, priority = 255, attempts = 0,
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
