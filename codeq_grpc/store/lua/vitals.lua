#!lua flags=allow-oom
-- Looks at the keys of a queue as such: one of another type, or a field of `s` that is none of
-- ours, ends every script; one that the store lets expire is lost. Mends the latter two, if asked.
-- KEYS: s w h m b o z l y t d c a e g u ux v k kw p f x r
-- ARGV: 1 to mend
-- Reply: OK, then what is wrong, with which key, and the type or field of each finding
local MEND, reply = ARGV[1] == '1', { 'OK' }
local TYPED = {
  hash = { s = s, h = h, m = m, b = b, o = o, g = g, u = u, k = k, p = p },
  zset = {
    w = w, z = z, l = l, y = y, t = t, d = d, c = c, a = a, e = e, ux = ux, v = v, kw = kw, f = f,
    x = x,
  },
  list = {},
}
for priority = 0, 9 do TYPED.list['r' .. priority] = r[priority] end

local function tell(what, where, about)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = what, where, about
end

-- @include typed

local function is_integer(text)
  return text:find('^%-?%d+$') ~= nil and #text < 17
end

-- Beyond these, which are of the year 2093, a number of Lua does not keep every bit of an id.
local LAST, LAST_MS = 9e15, 39e11
local function is_below(most)
  return function(text) return is_integer(text) and tonumber(text) < most end
end

local function is_number(text)
  return tonumber(text) ~= nil
end

local function is_count(text)
  return is_number(text) and tonumber(text) >= 0
end

local RIGHT = {
  cfg = function(text) return #text >= 63 end,
  samples = function(text) return #text % 32 == 0 end,
  schema = function(text) return #text == 0 or #text == 16 end,
  tokens = is_count, filled = is_number, clk = is_below(LAST), purged = is_below(LAST_MS),
}
for _, field in ipairs({
  'version', 'sweep', 'purging1', 'purging2', 'purging3',
  'enqueued', 'completed', 'failed', 'expired', 'cancelled', 'expired_tasks',
}) do RIGHT[field] = is_integer end

local function check_fields()
  for field, is_right in pairs(RIGHT) do
    local text = redis.call('HGET', s, field)
    if text and not is_right(text) then
      tell('bad_field', 's', field)
      -- What is left to sweep is swept from the start. A label is but to be another than before:
      -- without one payloads would not be checked any more.
      if MEND and field == 'sweep' then
        redis.call('HSET', s, field, '0')
      elseif MEND and field == 'schema' then
        redis.call('HSET', s, field, redis.sha1hex(text):sub(1, 16))
      elseif MEND then
        redis.call('HDEL', s, field)
      end
    end
  end
end

for kind, named in pairs(TYPED) do
  for where, key in pairs(named) do check_key(kind, where, key) end
end
if redis.call('TYPE', s).ok == 'hash' then check_fields() end
return reply
