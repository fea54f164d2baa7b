#!lua flags=allow-oom
-- Does a piece of what a purge and a change of settings left to do: rows that read as CANCELLED
-- become so, their entries leave the heads of the lists, parked tasks are looked at again.
-- KEYS: s w m o z l y t d c a e g k kw p x r
-- ARGV: how much to look at, error to keep
-- Reply: OK, now, outbox entries, 1 when there is more
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
local limit = tonumber(ARGV[1])
local todo = redis.call('HMGET', s, 'sweep', 'unpark')
local cursor, parked_from, done, steps = todo[1], todo[2], {}, {}

local function cancel_purged()
  local scanned = redis.call('HSCAN', m, cursor, 'COUNT', limit)
  for i = 1, #scanned[2], 2 do
    local id, row = scanned[2][i], read_row(scanned[2][i + 1])
    if row.purged then
      put(fields, o, id .. 'e', ARGV[2])
      count('cancelled', 1)
      move(id, row, CANCELLED, row[TIME])
    end
  end
  if scanned[1] == '0' then
    for _, field in ipairs({ 'purged', 'sweep', 'purging1', 'purging2', 'purging3' }) do
      done[#done + 1] = field
    end
    counts = { cancelled = counts.cancelled }
  else
    steps[1], steps[2] = 'sweep', scanned[1]
  end
end

local function trim(list)
  local ids, at = redis.call('LRANGE', list, 0, limit - 1), 0
  for i, row in ipairs(read_rows(ids)) do
    row = changed[ids[i]] or row
    if row and row[STATE] == PENDING and not has(row, PARKED) then break end
    at = i
  end
  if at > 0 then redis.call('LTRIM', list, at, -1) end
end

-- With a limit each key lets in once as many as it has room for; without one all come, by and by.
local function unpark()
  local from = parked_from == '' and '-' or '(' .. parked_from
  if Q.per_key > 0 and parked_from ~= '' then from = from:match('^[^%z]*') .. '\1' end
  local members = redis.call('ZRANGEBYLEX', kw, from, '+', 'LIMIT', 0, limit)
  for _, member in ipairs(members) do free(member:match('^[^%z]*')) end
  if #members < limit then
    done[#done + 1] = 'unpark'
  else
    steps[#steps + 1] = 'unpark'
    steps[#steps + 1] = members[#members]
  end
end

if cursor then cancel_purged() end
if parked_from then unpark() end
if #order > 0 or #freed_keys > 0 then flush() end
if cursor then
  for priority = 0, 9 do trim(r[priority]) end
end
write('HSET', s, steps)
write('HDEL', s, done)
return { 'OK', Q.now, owed, #steps > 0 and 1 or 0 }
