#!lua
-- Makes FAILED, CANCELLED and EXPIRED tasks claimable again, with fresh attempts. An expire_time
-- that would have passed by then is dropped. One whose idempotency key leads to another task by now
-- is refused: there would be two. One without a body is as good as gone: deleting it was aborted.
-- KEYS: s w m b z l y t d c a e g u k kw p x r
-- ARGV: id and delay in ms of each
-- Reply: OK, now, then of each REDRIVEN, REFUSED, SUPERSEDED or UNKNOWN, and its state
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
local ids, reply = {}, { 'OK', Q.now }
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end

local function renew_expiry(id, row, time)
  local parts = fixed(row)
  if not parts.expiry then return end
  if parts.expiry > time then return put(added, e, parts.expiry, id) end
  local at = #parts.policy
  row[FIXED] = row[FIXED]:sub(1, at) .. row[FIXED]:sub(at + 9)
  row.parts = nil
  set_flag(row, HAS_EXPIRY, false)
  put(gone, e, id) -- a purge leaves it till it is swept
end

-- Which tasks gave their key to another one that is still kept.
local function find_superseded(rows)
  local keys, owners, others, found = {}, {}, {}, {}
  for i, row in ipairs(rows) do
    if row and has(row, HAS_IDEMPOTENCY) then
      keys[#keys + 1], owners[#owners + 1] = fixed(row).idempotency, ids[i]
    end
  end
  for i, entry in ipairs(#keys > 0 and redis.call('HMGET', u, unpack(keys)) or {}) do
    local window = entry and struct.unpack('>I8', entry, 24)
    local is_open = window and (window == 0 or window > Q.now)
    others[i] = is_open and entry:sub(1, 7) ~= owners[i] and entry:sub(1, 7) or ''
  end
  for i, row in ipairs(read_rows(others)) do
    if row then found[owners[i]] = true end
  end
  return found
end

local rows = read_rows(ids)
local superseded = find_superseded(rows)
local function redrive(id, row, delay)
  if not row then return 'UNKNOWN' end
  if row[STATE] <= COMPLETED then return 'REFUSED' end
  if redis.call('HEXISTS', b, id) == 0 then return 'UNKNOWN' end
  if superseded[id] then return 'SUPERSEDED' end
  row[ATTEMPT], row[ENDING] = 0, 0
  if row[STATE] ~= FAILED then set_flag(row, TWICE, true) end
  move(id, row, delay > 0 and SCHEDULED or PENDING, Q.now + delay)
  renew_expiry(id, row, Q.now + delay)
  return 'REDRIVEN'
end

for i, row in ipairs(rows) do
  row = changed[ids[i]] or row
  reply[#reply + 1] = redrive(ids[i], row, tonumber(ARGV[2 * i]))
  reply[#reply + 1] = row and row[STATE] or 0
end
if #order > 0 then flush() end
return reply
