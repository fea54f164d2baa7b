#!lua flags=allow-oom
-- Looks at some API keys: each row can be read and has its entries, each entry its row.
-- KEYS: rows tenants ends used
-- ARGV: 1 to mend, which of the keys, cursor, how much
-- Reply: OK, cursor, then what is wrong, with which key, and the entry of each finding
-- @include api_key
local MEND, what = ARGV[1] == '1', ARGV[2]
local reply = { 'OK', '0' }

local function tell(kind, where, about)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = kind, where, about
  return MEND
end

local function check_score(key, where, member, right)
  local score = redis.call('ZSCORE', key, member)
  if right and (not score or tonumber(score) ~= right) then
    if tell(score and 'wrong_score' or 'unindexed', where, member) then
      redis.call('ZADD', key, string.format('%.0f', right), member)
    end
  elseif score and not right then
    if tell('stray', where, member) then redis.call('ZREM', key, member) end
  end
end

local CHECKS = {
  rows = function(id, row)
    local key = api_key(row)
    if not key then
      if tell('bad_key', what, id) then redis.call('HDEL', rows, id) end
      return
    end
    check_score(tenants, 'tenants', key.place .. id, 0)
    check_score(ends, 'ends', id, key.ended)
  end,
  tenants = function(member)
    local id = member:sub(-12)
    local key = api_key(redis.call('HGET', rows, id))
    check_score(tenants, 'tenants', member, key and key.place .. id == member and 0 or nil)
  end,
  ends = function(id)
    local key = api_key(redis.call('HGET', rows, id))
    check_score(ends, 'ends', id, key and key.ended)
  end,
  used = function(id, minute)
    if redis.call('HEXISTS', rows, id) == 1 and minute:find('^%d+$') then return end
    if tell('stray', what, id) then redis.call('HDEL', used, id) end
  end,
}

local found
if what == 'rows' or what == 'used' then
  found = redis.call('HSCAN', what == 'rows' and rows or used, ARGV[3], 'COUNT', ARGV[4])
else
  found = redis.call('ZSCAN', what == 'ends' and ends or tenants, ARGV[3], 'COUNT', ARGV[4])
end
for i = 1, #found[2], 2 do CHECKS[what](found[2][i], found[2][i + 1]) end
reply[2] = found[1]
return reply
