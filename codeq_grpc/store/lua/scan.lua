#!lua flags=no-writes
-- Finds tasks that match, newest first, looking at a bounded number.
-- KEYS: s m o z l y t d c a v kw r
-- ARGV: state, or 0 to go by the first label; cursor or ''; how many to give and to look at, at
--   most; first and last id or ''; worker or ''; bytes with which the error begins or ''; the
--   states wanted, a letter '0' + state each; then labels
-- Reply: OK, cursor or '' at the end, how many it looked at, then ids
-- @include queue
-- @include rows
-- @include claims
-- @include places
local state, cursor, most, budget = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local from, to, worker, problem, states = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local labels = { unpack(ARGV, 10) }
local first, final = from ~= '' and number_of(from) or 0, to ~= '' and number_of(to) or math.huge
local PLACES = {
  [BLOCKED] = y, [SCHEDULED] = z, [IN_PROGRESS] = l, [COMPLETED] = t, [FAILED] = d,
  [CANCELLED] = c, [EXPIRED] = a,
}

local function is_wanted(id, row)
  if not row or not states:find(string.char(48 + row[STATE]), 1, true) then return false end
  if state > 0 and row[WAS] ~= state then return false end
  local number = number_of(id)
  if number < first or number > final then return false end
  if worker == '' then return true end
  return row[CLAIM] ~= '' and select(5, claim_of(row)) == worker
end

local ids, cursors
if state == 0 then
  ids, cursors = by_label(labels[1], cursor, from, to, budget)
elseif state == PENDING then
  ids, cursors = by_list(cursor, budget)
else
  ids, cursors = by_time(PLACES[state], cursor, budget)
end

local wanted, names, rows = {}, {}, read_rows(ids)
local stale = cursors.stale and cursors.stale(rows) or {}
for i, row in ipairs(rows) do
  if is_wanted(ids[i], row) and not stale[i] and not wanted[ids[i]] then
    wanted[ids[i]] = true
    names[#names + 1] = ids[i]
  end
end
for _, label in ipairs(labels) do
  local kept, members = {}, {}
  for i, id in ipairs(names) do members[i] = label .. id end
  for i, score in ipairs(#names > 0 and redis.call('ZMSCORE', v, unpack(members)) or {}) do
    if score then kept[#kept + 1] = names[i] end
  end
  names = kept
end
if problem ~= '' and #names > 0 then
  local kept, texts = {}, {}
  for i, id in ipairs(names) do texts[i] = id .. 'e' end
  for i, text in ipairs(redis.call('HMGET', o, unpack(texts))) do
    if text and text:sub(1, #problem) == problem then kept[#kept + 1] = names[i] end
  end
  names = kept
end

local reply, last = { 'OK', cursors[#ids] or '', #ids }, nil
for i = 1, math.min(most, #names) do
  reply[3 + i] = names[i]
  last = names[i]
end
if #names > most then
  for i = #ids, 1, -1 do
    if ids[i] == last then reply[2] = cursors[i] end -- of the first of its entries
  end
elseif #ids < budget then
  reply[2] = cursors.after or ''
end
return reply
