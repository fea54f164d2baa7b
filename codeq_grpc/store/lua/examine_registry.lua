#!lua flags=allow-oom
-- Looks at the keys of the registry as such, or at a part of it: each number leads to a name, each
-- name to a number of its own, and stands in the order, where no other does.
-- KEYS: last numbers names order
-- ARGV: 1 to mend, keys or numbers or names or order, cursor, how much
-- Reply: OK, cursor, then what is wrong, with which key, and the number, name, type or text of each
--   finding
local MEND, what, QUEUES = ARGV[1] == '1', ARGV[2], 2 ^ 40 -- ids have 5 bytes for it
local reply, latest, ORDER = { 'OK', '0' }, nil, 'order'

local function tell(kind, where, about)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = kind, where, about
end
-- @include typed

local function is_number(text)
  return text:find('^%d+$') and #text < 14 and tonumber(text) < QUEUES
end

local function is_right(number, name)
  return is_number(number) and name:find('^[%w._-]+/')
end

-- Without the last number, those that were given tell what it was.
local function check_keys()
  check_key('hash', 'numbers', numbers)
  check_key('hash', 'names', names)
  check_key('zset', ORDER, order)
  local where = 'last'
  local text = check_key('string', where, last) and redis.call('GET', last)
  if not text or is_number(text) then return end
  tell('bad_field', where, text:sub(1, 100))
  if MEND then redis.call('SET', last, '0') end
end

-- A last number that differs makes servers read the registry anew.
local function set_last(number)
  latest = math.max(latest + 1, number)
  redis.call('SET', last, string.format('%.0f', latest))
end

local function check_number(number, name)
  if not is_right(number, name) then
    tell('stray', what, number)
    if MEND then redis.call('HDEL', numbers, number) end
    return
  end
  if not redis.call('HGET', names, name) then
    tell('unindexed', what, name)
    if MEND then redis.call('HSET', names, name, number) end
  end
  if tonumber(number) > latest then
    tell('behind', what, number)
    if MEND then set_last(tonumber(number)) end
  end
end

local function check_name(name, number)
  local known = redis.call('HGET', numbers, number)
  local is_lost = not known and is_right(number, name)
  if known ~= name then
    tell(is_lost and 'unindexed' or 'stray', what, name)
    if MEND then
      if is_lost then
        redis.call('HSET', numbers, number, name)
      else
        redis.call('HDEL', names, name)
      end
      set_last(0)
    end
    if not is_lost then return end
  end
  if not redis.call('ZSCORE', order, name) then
    tell('unindexed', ORDER, name)
    if MEND then redis.call('ZADD', order, 0, name) end
  end
end

local function check_place(name)
  if redis.call('HEXISTS', names, name) == 1 then return end
  tell('stray', what, name)
  if MEND then redis.call('ZREM', order, name) end
end

if what == 'keys' then
  check_keys()
  return reply
end
latest = tonumber(redis.call('GET', last)) or 0
local count = tonumber(ARGV[4])
local found
if what == ORDER then
  found = redis.call('ZSCAN', order, ARGV[3], 'COUNT', count)
else
  found = redis.call('HSCAN', what == 'numbers' and numbers or names, ARGV[3], 'COUNT', count)
end
local check = ({ numbers = check_number, names = check_name, order = check_place })[what]
for i = 1, #found[2], 2 do check(found[2][i], found[2][i + 1]) end
reply[2] = found[1]
return reply
