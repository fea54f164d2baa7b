#!lua flags=allow-oom
-- Looks at the keys of a calendar as such, or at some entries of one, tells what is wrong and, if
-- asked to, sets it right at once.
-- KEYS: s m b h d t v f g o p x k kx w
-- ARGV: 1 to mend, keys or which of them, cursor, how much
-- Reply: OK, cursor, then what is wrong, with which key, and the entry, type or id of each finding
local MEND, what, reply = ARGV[1] == '1', ARGV[2], { 'OK', '0' }
local HASHES = { s = s, m = m, b = b, h = h, d = d, f = f, o = o, k = k }
local SETS = { t = t, v = v, g = g, p = p, x = x, kx = kx, w = w }
local function tell(kind, where, about)
  local count = #reply
  reply[count + 1], reply[count + 2], reply[count + 3] = kind, where, about
  return MEND
end
-- @include typed
if what == 'keys' then
  for where, key in pairs(HASHES) do check_key('hash', where, key) end
  for where, key in pairs(SETS) do check_key('zset', where, key) end
  return reply
end
-- @include calendar
-- @include schedules
-- @include score
-- @include records
-- @include firings
-- @include calendar_safe
-- @include calendar_checks
local CHECKS = { m = check_schedule, f = check_firing }

function CHECKS.b(id)
  if not row_of(id) then drop('b', id) end
end

function CHECKS.d(number)
  if not is_kept(number) then drop('d', number) end
end

function CHECKS.h(place)
  local row = #place == 11 and row_numbered(place:sub(1, 7))
  local version = row and struct.unpack('>I4', place, 8)
  if row and (version < row.first or version >= row.version) then return drop('h', place) end
  if not row and not is_kept(place:sub(1, 7)) then drop('h', place) end
end

function CHECKS.t(id, time)
  local row = row_of(id)
  local right = row and look_at(row) or 0
  if right == 0 then return drop('t', id) end
  -- One that is taken stands later for a while.
  local is_taken = tonumber(time) > right and tonumber(time) <= C.now + WHILE
  if tonumber(time) ~= right and not is_taken and tell('wrong_score', 't', id) then
    redis.call('ZADD', t, score(right), id)
  end
end

function CHECKS.v(entry, time)
  local id = entry:match('%z([^%z]*)$') or ''
  local row, known = row_of(id), false
  for _, term in ipairs(row and safe_terms(record_of(row, row.version, safe_record(id))) or {}) do
    known = known or term .. id == entry
  end
  if not known then return drop('v', entry) end
  check_lexical('v', entry, time)
end

function CHECKS.g(place, time)
  if redis.call('HEXISTS', f, place) == 0 then return drop('g', place) end
  check_lexical('g', place, time)
end

function CHECKS.o(name, entry)
  local one = firing_at(entry:sub(1, 16))
  if not one or one.name ~= name or not is_open(one) or #entry == 16 then drop('o', name) end
end

function CHECKS.p(member, time)
  local place = #member == 14 and redis.call('HGET', o, member:sub(8)) or ''
  local one = place:sub(1, 7) == member:sub(1, 7) and firing_at(place:sub(1, 16))
  if not one or one.name ~= member:sub(8) or not is_open(one) then return drop('p', member) end
  check_lexical('p', member, time)
end

function CHECKS.x(name, time)
  local one = firing_at((redis.call('HGET', o, name) or ''):sub(1, 16))
  if not one or one.name ~= name or not is_owed(one) then return drop('x', name) end
  if tonumber(time) > C.now + WHILE and tell('wrong_score', 'x', name) then
    redis.call('ZADD', x, score(C.now), name)
  end
end

-- Those of a deleted schedule mean nothing, and go when their time has come.
function CHECKS.k(key, value)
  local till = #key > 7 and #value == 24 and struct.unpack('>I8', value)
  if not till or till > C.now + DAYS then return drop('k', key) end
  local had = redis.call('ZSCORE', kx, key)
  if tonumber(had or 0) ~= till and tell(had and 'wrong_score' or 'unindexed', 'kx', key) then
    redis.call('ZADD', kx, score(till), key)
  end
end

function CHECKS.kx(key)
  if redis.call('HEXISTS', k, key) == 0 then drop('kx', key) end
end

function CHECKS.w(waste, time)
  local row = #waste > 15 and row_of(waste:sub(16))
  if #waste < 16 or row and row.number == waste:sub(1, 7) then return drop('w', waste) end
  check_lexical('w', waste, time)
end

local found
if HASHES[what] then
  found = redis.call('HSCAN', HASHES[what], ARGV[3], 'COUNT', ARGV[4])
else
  found = redis.call('ZSCAN', SETS[what], ARGV[3], 'COUNT', ARGV[4])
end
for at = 1, #found[2], 2 do CHECKS[what](found[2][at], found[2][at + 1]) end
reply[2] = found[1]
return reply
