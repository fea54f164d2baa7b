#!lua flags=allow-oom
-- Tells blocked tasks that tasks they depend on have ended: with the last they become claimable,
-- or scheduled; with one that did not complete they fail.
-- KEYS: s w m o z l y t d c a e g k kw p x r
-- ARGV: of each id, the ids (18 bytes each) of those that ended, and the error to fail with or ''
--   if they completed. What it does not depend on (any more, it was replaced) is no matter; an
--   error without ids always fails it.
-- Reply: OK, now, outbox entries
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
local function left_of(parents, ended)
  local done, kept = {}, {}
  for at = 1, #ended, 18 do done[ended:sub(at, at + 17)] = true end
  for at = 1, #parents, 18 do
    local parent = parents:sub(at, at + 17)
    if not done[parent] then kept[#kept + 1] = parent end
  end
  return table.concat(kept)
end

local ids = {}
for i = 1, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
for i, row in ipairs(read_rows(ids)) do
  local id, ended, problem = ids[i], ARGV[3 * i - 1], ARGV[3 * i]
  row = changed[id] or row
  if row and row[STATE] == BLOCKED then
    local parents = redis.call('HGET', p, id) or ''
    local left_over = left_of(parents, ended)
    if problem ~= '' and (ended == '' or #left_over < #parents) then
      put(fields, o, id .. 'e', problem)
      move(id, row, FAILED, Q.now)
    elseif problem == '' and left_over == '' then
      local due = row[TIME] > Q.now
      move(id, row, due and SCHEDULED or PENDING, due and row[TIME] or Q.now)
    elseif problem == '' then
      redis.call('HSET', p, id, left_over)
    end
  end
end
if #order > 0 then flush() end
return { 'OK', Q.now, owed }
