#!lua
-- Makes a schedule, or gives it a new version.
-- KEYS: s m b h d t v f o p
-- ARGV: id; NEW, or CHANGE; number and version that it must be of, 7 zero bytes and 0 for any; how
--   many the tenant may have, and its creator, 0 for any number; how many versions to keep; term
--   that has the creator's, or '' for codeQ's own; `>BBBBI8I8I4BI8I8`: overlap, misfire, 1 or 0 for
--   paused or 2 to leave that, 1 for codeQ's own, grace, max, pause_after, 1 if times are given,
--   next and act; reason of the pause; record without version and time
-- Reply: OK, row; EXISTS, row; MISSING; CHANGED, row; SYSTEM, row; FULL; CREATOR: it has too many
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include schedules_written
-- @include records
-- @include firings
local id, is_new, kept = ARGV[1], ARGV[2] == 'NEW', tonumber(ARGV[7])
local overlap, misfire, paused, system, grace, max, pause_after, timed, next, act =
  struct.unpack('>BBBBI8I8I4BI8I8', ARGV[9])
local row = read_schedule(redis.call('HGET', m, id))

local function refusal()
  if is_new and row then return { 'EXISTS', pack_schedule(row) } end
  if is_new then
    -- Of one whose making broke off the entry stands already.
    local own = redis.call('ZSCORE', v, ARGV[8] .. id) and 1 or 0
    local function is_full(term, most)
      return most > 0 and system == 0
        and redis.call('ZLEXCOUNT', v, '[' .. term, '(' .. term .. '\255') - own >= most
    end
    if is_full('u\0', tonumber(ARGV[5])) then return { 'FULL' } end
    if is_full(ARGV[8], tonumber(ARGV[6])) then return { 'CREATOR' } end
  elseif not row then
    return { 'MISSING' }
  elseif not is_expected(row, ARGV[3], tonumber(ARGV[4])) then
    return { 'CHANGED', pack_schedule(row) }
  elseif is(row, SYSTEM) and system == 0 then
    return { 'SYSTEM', pack_schedule(row) }
  end
end

-- A version is kept as long as a firing is to be enqueued as it says.
local function versions_out()
  local out, oldest = {}, row.version - kept
  if row.first > oldest then return out end
  local open = open_firings(row.number, 1000)
  if #open == 1000 then return out end
  for _, one in ipairs(open) do
    if one.state == TO_ENQUEUE then oldest = math.min(oldest, one.version - 1) end
  end
  while row.first <= oldest do
    out[#out + 1] = place_of(row, row.first)
    row.first = row.first + 1
  end
  return out
end

local refused = refusal()
if refused then return refused end
local current, versions = redis.call('HGET', b, id), {}
local terms_out, terms_in, is_kept = terms_of(current), {}, {}
if row then
  local before = record_of(row, row.version, current)
  for _, term in ipairs(terms_of(before)) do terms_out[#terms_out + 1] = term end
  if before then redis.call('HSET', h, place_of(row, row.version), before) end
  row.version = row.version + 1
  versions = versions_out()
else
  row = { number = struct.pack('>I7', C.first), reason = '' }
  for _, name in ipairs(FIELDS) do row[name] = row[name] or 0 end
  row.version, row.first = 1, 1
  redis.call('HSET', s, 'clk', C.first)
  redis.call('HSET', d, row.number, id)
end
row.overlap, row.misfire, row.grace, row.max, row.pause_after =
  overlap, misfire, grace, max, pause_after
mark(row, SYSTEM, system == 1)
if timed == 1 then
  row.next, row.act = next, act
  mark(row, ENDED, next == 0)
end
if paused < 2 then
  mark(row, PAUSED, paused == 1)
  mark(row, FAILING, false)
  if paused == 0 then row.in_row = 0 end
  row.reason = paused == 1 and ARGV[10] or ''
end
local record = struct.pack('>I4I8', row.version, C.now) .. ARGV[11]
for _, term in ipairs(terms_of(record)) do
  terms_in[#terms_in + 1], terms_in[#terms_in + 2] = 0, term .. id
  is_kept[term] = true
end
local gone = {}
for _, term in ipairs(terms_out) do
  if not is_kept[term] then gone[#gone + 1] = term .. id end
end
write('ZADD', v, terms_in)
redis.call('HSET', b, id, record)
keep(id, row)
write_schedules()
write('ZREM', v, gone)
write('HDEL', h, versions)
return { 'OK', pack_schedule(row) }
