#!lua
-- Adds a batch of tasks, each under its own number or, where its idempotency key has a task, not.
-- KEYS: s w m b o z l y t d c a e g u ux v k kw p x r
-- ARGV: time in ms after which nobody waits for the reply any more, or 0; 1 for all or none; the
--   server's max_attempts; label of the schema that the payloads were held against, or ''; then
--   head, spec bytes and more of each task. A head is `>I2BBI4I4i8` (flags, with 32768 if the
--   payload is not valid, priority or 255, max_attempts or 0, lease_ms or 0, size of the spec
--   without payload, when: 0 for now, a time in ms, or minus a delay) and the fixed part of the
--   row. More is, as flags say, 16 bytes of digest and `>I8B` (ttl_ms or 0, conflict policy);
--   `>I2` length of the labels, each as `>I2` length and text; then the ids that the task
--   depends on.
-- Reply: OK, number of the first task (the others follow it), now, outbox entries, then index
--   from 0, word, name and state of each task that was not simply added: EXISTING, REPLACED, or
--   refused as EXISTS, MISMATCH, FULL, OVERDUE or INVALID; REFUSED, 0, now, 0 and these, if it is
--   all or none; SCHEMA, label, now, if the queue's schema is another; LATE, now
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
-- @include labels
-- @include totals
-- @include idempotency
-- @include arrivals
local not_after, atomic, attempts = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
if not_after > 0 and Q.now > not_after then return { 'LATE', Q.now } end
if Q.schema ~= ARGV[4] then return { 'SCHEMA', Q.schema, Q.now } end
local REFUSALS = { EXISTS = true, MISMATCH = true, FULL = true, OVERDUE = true, INVALID = true }
local room = Q.backlog > 0 and Q.backlog - unended() or math.huge
if Q.attempts > 0 then attempts = Q.attempts end

local function judge(new, id)
  local expiry = new.row[FIXED] ~= '' and fixed(new.row).expiry
  local is_overdue, invalid = expiry and expiry <= new.row[TIME], has(new.row, INVALID)
  local word, name, state
  -- A repeat finds its task, however late it comes and whatever schema there is by now.
  local settles = not ((is_overdue or invalid) and new.policy == REPLACE)
  if new.digest and settles then word, name, state = settle(new) end
  if is_overdue and not word then return 'OVERDUE', id, 0 end
  if invalid and not word then return 'INVALID', id, 0 end
  if not word and room < 1 then return 'FULL', id, 0 end
  if not word then room = room - 1 end
  return word, name or id, state or 0
end

local tasks, specials, refused = {}, {}, false
for at = 5, #ARGV, 3 do tasks[#tasks + 1] = read_task(at, attempts) end
look_up(tasks)
for i, new in ipairs(tasks) do
  local id = struct.pack('>I7', Q.first + i - 1)
  local word, name, state = judge(new, id)
  new.id, new.word = name, word
  if new.digest and (not word or word == 'REPLACED') then
    known[fixed(new.row).idempotency] = new
  end
  if word then
    local n = #specials
    specials[n + 1], specials[n + 2], specials[n + 3], specials[n + 4] = i - 1, word, name, state
    refused = refused or REFUSALS[word]
  end
end
if refused and atomic then return { 'REFUSED', 0, Q.now, 0, unpack(specials) } end

local function add(new)
  local id, row = new.id, new.row
  if new.digest then remember(new) end
  local expiry = row[FIXED] ~= '' and fixed(row).expiry
  if expiry then put(added, e, expiry, id) end
  if new.labels then
    put(fields, o, id .. 'l', new.text)
    for _, label in ipairs(new.labels) do put(added, v, 0, label .. id) end
  end
  if new.parents then
    put(fields, p, id, new.parents)
    put(added, x, Q.now, 'B' .. id)
    owed = owed + 1
  end
  put(fields, b, id, new.body)
  if new.old then replace(new) else move(id, row, row[STATE], row[TIME]) end
end

local number = 0
for _, new in ipairs(tasks) do
  if not new.word or new.word == 'REPLACED' then
    if not new.superseded then add(new) end
    if not new.word then number = number + 1 end
  end
end
redis.call('HSET', s, 'clk', Q.first + #tasks - 1)
if number > 0 then count('enqueued', number) end
flush()
return { 'OK', Q.first, Q.now, owed, unpack(specials) }
