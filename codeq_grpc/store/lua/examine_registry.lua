#!lua flags=allow-oom
-- Looks at a part of the registry: each number leads to a name, each name to a number of its own.
-- KEYS: last numbers names
-- ARGV: 1 to mend, numbers or names, cursor, how much
-- Reply: OK, cursor, then what is wrong, with which key, and the number or name of each finding
local MEND, what = ARGV[1] == '1', ARGV[2]
local reply, latest = { 'OK', '0' }, tonumber(redis.call('GET', last)) or 0

local function tell(kind, about)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = kind, what, about
end

local function is_right(number, name)
  return number:find('^%d+$') and #number < 14 and name:find('^[%w._-]+/.')
end

-- A last number that differs makes servers read the registry anew.
local function set_last(number)
  latest = math.max(latest + 1, number)
  redis.call('SET', last, string.format('%.0f', latest))
end

local function check_number(number, name)
  if not is_right(number, name) then
    tell('stray', number)
    if MEND then redis.call('HDEL', numbers, number) end
    return
  end
  if not redis.call('HGET', names, name) then
    tell('unindexed', name)
    if MEND then redis.call('HSET', names, name, number) end
  end
  if tonumber(number) > latest then
    tell('behind', number)
    if MEND then set_last(tonumber(number)) end
  end
end

local function check_name(name, number)
  local known = redis.call('HGET', numbers, number)
  if known == name then return end
  local is_lost = not known and is_right(number, name)
  tell(is_lost and 'unindexed' or 'stray', name)
  if not MEND then return end
  if is_lost then
    redis.call('HSET', numbers, number, name)
  else
    redis.call('HDEL', names, name)
  end
  set_last(0)
end

local key = what == 'numbers' and numbers or names
local found = redis.call('HSCAN', key, ARGV[3], 'COUNT', tonumber(ARGV[4]))
for i = 1, #found[2], 2 do
  if what == 'numbers' then
    check_number(found[2][i], found[2][i + 1])
  else
    check_name(found[2][i], found[2][i + 1])
  end
end
reply[2] = found[1]
return reply
