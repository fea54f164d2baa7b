#!lua flags=allow-oom
-- Ends attempts whose lease ran out: pending again, at the head, or failed when attempts are used
-- up; and tasks whose expire_time has passed. Mends what aborted scripts left in both indexes.
-- KEYS: s w m o z l y t d c a e g k kw p x r
-- ARGV: limit, then the errors to keep: lease expired, attempt timed out, task expired
-- Reply: OK, now, next of either or 0, outbox entries, 1 when the limit cut it short, then id,
--   fence and owner of each lease that ran out
-- @include queue
-- @include rows
-- @include claims
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
-- @include history
-- @include cancelled
local EXPIRE = 4
local limit, reply, ended = tonumber(ARGV[1]), { 'OK', Q.now, 0, 0, 0 }, {}

local function expire(id, row)
  put(fields, o, id .. 'e', ARGV[4])
  count('expired_tasks', 1)
  move(id, row, EXPIRED, Q.now)
end

local function end_attempt(id, row)
  local _, since, start, holder = claim_of(row)
  local parts, problem = fixed(row), ARGV[2]
  if parts.timeout and start + parts.timeout <= Q.now then problem = ARGV[3] end
  ended[#ended + 1], ended[#ended + 2], ended[#ended + 3] = id, row, record(row, EXPIRE, problem)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = id, row[FENCE], holder
  count('expired', 1)
  row[ENDING] = EXPIRE
  if has(row, CANCELLING) then return cancelled(id, row) end
  if parts.expiry and parts.expiry <= Q.now then return expire(id, row) end
  put(fields, o, id .. 'e', problem)
  if row[ATTEMPT] >= row[MAX] then return move(id, row, FAILED, Q.now) end
  move(id, row, PENDING, since, true)
end

local function is_leased(row)
  return row[STATE] == IN_PROGRESS
end

local over = redis.call('ZRANGEBYSCORE', l, '-inf', Q.now, 'LIMIT', 0, limit)
for i, row in ipairs(read_rows(over)) do
  local id = over[i]
  if not row or not is_leased(row) then
    put(gone, l, id)
  elseif row[TIME] > Q.now then
    put(added, l, row[TIME], id)
  else
    end_attempt(id, row)
  end
end

local late = redis.call('ZRANGEBYSCORE', e, '-inf', Q.now, 'LIMIT', 0, limit - #over)
for i, row in ipairs(read_rows(late)) do
  local id = late[i]
  local expiry = row and fixed(row).expiry
  if not changed[id] then
    if not expiry or row[STATE] >= COMPLETED then
      put(gone, e, id) -- one that a purge has cancelled waits for the sweeper
    elseif expiry > Q.now then
      put(added, e, expiry, id)
    elseif not is_leased(row) then
      expire(id, row)
    else
      end_attempt(id, row)
    end
  end
end

keep_history(ended)
if #order > 0 or next(gone) or next(added) then flush() end
local function next_of(index)
  return tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or math.huge)
end
local soonest = math.min(next_of(l), next_of(e))
reply[3], reply[4] = soonest < math.huge and soonest or 0, owed
reply[5] = #over + #late >= limit and 1 or 0
return reply
