-- What the latest claim of a server has leased, for one whose reply is lost: in `h`, by server, the
-- number of its latest call, and under the server with a `+` the number of its claim, the first
-- fence and the ids, `>I8I8` and 7 bytes each. Numbers of a server rise. Needs h.
local MANY = 400

-- Whether a later call of the server came before this one: whoever sent it has given it up.
local function outdated(server, number)
  if server == '' then return false end
  return tonumber(redis.call('HGET', h, server) or 0) >= number
end

local function hand_out(server, number, ids) -- luacheck: ignore
  if server == '' then return end
  if #ids == 0 then return redis.call('HDEL', h, server .. '+') end
  -- Of servers that are no more.
  if redis.call('HLEN', h) > MANY then
    redis.call('HDEL', h, unpack(redis.call('HKEYS', h)))
  end
  local receipt = struct.pack('>I8I8', number, Q.first) .. table.concat(ids)
  redis.call('HSET', h, server, number, server .. '+', receipt)
end
