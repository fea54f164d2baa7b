-- Tells the servers in which a caller waits for one of these tasks to end. Costs one HLEN when
-- nobody does. The message is the name of the key, a NUL and the id.
local function tell_ended(waited, ids)
  if #ids == 0 or redis.call('HLEN', waited) == 0 then return end
  local found = {}
  for i, servers in ipairs(redis.call('HMGET', waited, unpack(ids))) do
    if servers then
      found[#found + 1] = ids[i]
      for server in servers:gmatch('%S+') do
        redis.call('PUBLISH', 'codeq:wake:' .. server, waited .. '\0' .. ids[i])
      end
    end
  end
  if #found > 0 then redis.call('HDEL', waited, unpack(found)) end
end
