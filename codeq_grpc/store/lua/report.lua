#!lua flags=allow-oom
-- Ends attempts: complete, fail or abandon, in any mix. Repeating the same ending under the same
-- fence is fine; any other stale fence changes nothing. A task to be cancelled is, or completes.
-- KEYS: s w m b o z l y t d c a e g k kw p x r
-- ARGV: default retry policy, then of each id, head and bytes. A head is `>BBI8I8I4I2`: ending,
--   flags (1 not to be retried, 2 has a delay), fence, delay_ms, random, length of the error's
--   short form (0: the error is short), and then the error's type. Bytes are result, or error and
--   short form.
-- Reply: OK, now, outbox entries, then of each DONE, REPEATED, LOST or UNKNOWN, state, time, owner
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
-- @include backoff
local COMPLETE, FAIL, NO_RETRY, HAS_DELAY = 1, 2, 1, 2
local ended, emptied, rows, completed = {}, {}, {}, 0

local function complete(id, row, result)
  move(id, row, COMPLETED, Q.now)
  if result ~= '' then put(fields, o, id .. 'r', result) end
  if not Q.retain and row[REST] < row[SIZE] then emptied[#emptied + 1] = id end
  if not PLAIN[row[FLAGS]] and has(row, CANCELLING) then
    put(unneeded, o, id .. 'c')
    set_flag(row, CANCELLING, false)
  end
  completed = completed + 1
end

local function put_back(id, row, delay, since)
  if delay > 0 then
    move(id, row, SCHEDULED, Q.now + delay)
  else
    move(id, row, PENDING, since or Q.now, since ~= nil)
  end
end

-- How an attempt ended; COMPLETE needs no more than bytes.
local function read_end(head, bytes)
  local ending, flags, fence, delay, random, short = struct.unpack('>BBI8I8I4I2', head)
  return {
    ending = ending, flags = flags, fence = fence, delay = delay, random = random, short = short,
    bytes = bytes, kind = head:sub(25),
  }
end

local function fail(id, row, said)
  local text, short = said.bytes, said.bytes
  if said.short > 0 then
    text, short = text:sub(1, -said.short - 1), text:sub(-said.short)
  end
  ended[#ended + 1], ended[#ended + 2], ended[#ended + 3] = id, row, record(row, FAIL, short)
  count('failed', 1)
  if has(row, CANCELLING) then return cancelled(id, row) end
  if text ~= '' then put(fields, o, id .. 'e', text) end
  if said.flags % 2 == NO_RETRY or row[ATTEMPT] >= row[MAX] or is_hopeless(row, said.kind) then
    return move(id, row, FAILED, Q.now)
  end
  if said.flags < HAS_DELAY then
    said.delay = backoff(fixed(row).policy, ARGV[1], row[ATTEMPT], said.random / 4294967296)
  end
  put_back(id, row, said.delay)
end

local function abandon(id, row, said)
  row[ATTEMPT] = row[ATTEMPT] - 1
  if has(row, CANCELLING) then return cancelled(id, row) end
  local _, since = claim_of(row)
  put_back(id, row, said.delay, since)
end

local function apply(id, row, ending, head, bytes)
  if ending == COMPLETE then
    complete(id, row, bytes)
  elseif ending == FAIL then
    fail(id, row, read_end(head, bytes))
  else
    abandon(id, row, read_end(head, bytes))
  end
  row[ENDING] = ending
end

local names = {}
for i = 2, #ARGV, 3 do names[#names + 1] = ARGV[i] end
for i, row in ipairs(read_rows(names)) do rows[names[i]] = rows[names[i]] or row end

local reply, n = { 'OK', Q.now, 0 }, 3
for i = 2, #ARGV, 3 do
  local id, head = ARGV[i], ARGV[i + 1]
  local row, word, ending = rows[id], 'LOST', head:byte()
  local fence = struct.unpack('>I8', head, 3)
  if not row then
    word = 'UNKNOWN'
  elseif row[FENCE] == fence and row[STATE] == IN_PROGRESS and row[TIME] > Q.now then
    apply(id, row, ending, head, ARGV[i + 2])
    word = 'DONE'
  elseif row[FENCE] == fence and row[STATE] ~= IN_PROGRESS and row[ENDING] == ending then
    word = 'REPEATED'
  end
  reply[n + 1], reply[n + 2], reply[n + 3] = word, row and row[STATE] or 0, row and row[TIME] or 0
  reply[n + 4], n = row and owner(row) or '', n + 4
end
if completed > 0 then count('completed', completed) end
keep_history(ended)
if #emptied > 0 then
  for i, body in ipairs(redis.call('HMGET', b, unpack(emptied))) do
    local row = rows[emptied[i]]
    put(later, b, emptied[i], (body or ''):sub(1, row[REST]))
    row[SIZE] = row[REST]
  end
end
if #order > 0 then flush() end
reply[3] = owed
return reply
