-- Tells servers in which a caller waits for one of these tasks to end (the name of g, NUL, id),
-- and those that watch the queue of every change (`~`, the name of m, NUL, ids). Costs one HLEN
-- when nobody does. Needs m g.
local function tell_ended(ids)
  if #ids == 0 or redis.call('HLEN', g) == 0 then return end
  local found = {}
  for i, servers in ipairs(redis.call('HMGET', g, unpack(ids))) do
    if servers then
      found[#found + 1] = ids[i]
      for server in servers:gmatch('%S+') do
        redis.call('PUBLISH', 'codeq:wake:' .. server, g .. '\0' .. ids[i])
      end
    end
  end
  if #found > 0 then redis.call('HDEL', g, unpack(found)) end
end

local function tell_watchers(ids)
  if not Q.watch or #ids == 0 then return end
  for server, till in Q.watch:gmatch('(%S+):(%d+)') do
    if tonumber(till) > Q.now then
      redis.call('PUBLISH', 'codeq:wake:' .. server, '~' .. m .. '\0' .. table.concat(ids))
    end
  end
end
