#!lua flags=allow-oom
-- Ends attempts: complete, fail or abandon, in any mix. Repeating the same ending under the same
-- fence is fine; any other stale fence changes nothing.
-- KEYS: s w m o z l t d g r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
-- ARGV: default retry policy, then of each id, head and bytes (result or error). A head is
--   `>BBI8I8I4`: ending, flags (1 not to be retried, 2 has a delay), fence, delay_ms, random
-- Reply: OK, now, then of each four: DONE, REPEATED, LOST or UNKNOWN; state; its time; owner
-- @include clock
-- @include rows
-- @include claims
-- @include push
-- @include backoff
-- @include wake
-- @include tell_ended
local s, w, m, o, z, l = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local t, d, g = KEYS[7], KEYS[8], KEYS[9]
local COMPLETE, FAIL = 1, 2
local NO_RETRY, HAS_DELAY = 1, 2
local _, now = read_clock(s)
local ids, rows = {}, {}
for i = 2, #ARGV, 3 do
  if rows[ARGV[i]] == nil then
    rows[ARGV[i]] = false
    ids[#ids + 1] = ARGV[i]
  end
end
for i, row in ipairs(read_rows(m, ids)) do rows[ids[i]] = row end

local ended, dead, due, heads, tails, texts = {}, {}, {}, {}, {}, {}
local touched, finals, completed, failed, ready = {}, {}, 0, 0, 0

local function put_back(row, id, delay, groups)
  if delay > 0 then
    row[STATE], row[TIME] = SCHEDULED, now + delay
    due[#due + 1] = row[TIME]
    due[#due + 1] = id
  else
    row[STATE], row[TIME] = PENDING, groups == heads and claimable_since(row) or now
    push(groups, row[PRIORITY], id)
    ready = ready + 1
  end
end

local function finish(row, id, state, index)
  row[STATE], row[TIME] = state, now
  index[#index + 1] = now
  index[#index + 1] = id
  finals[#finals + 1] = id
end

local function keep(field, bytes)
  if bytes ~= '' then
    texts[#texts + 1] = field
    texts[#texts + 1] = bytes
  end
end

local function apply(row, id, ending, flags, delay, random, bytes)
  if ending == COMPLETE then
    finish(row, id, COMPLETED, ended)
    keep(id .. 'r', bytes)
    completed = completed + 1
  elseif ending == FAIL then
    keep(id .. 'e', bytes)
    failed = failed + 1
    if has(flags, NO_RETRY) or row[ATTEMPT] >= row[MAX] then
      finish(row, id, FAILED, dead)
    else
      local policy = row.policy ~= '' and row.policy or ARGV[1]
      local u = random / 4294967296
      if not has(flags, HAS_DELAY) then delay = backoff(policy, row[ATTEMPT], u) end
      put_back(row, id, delay, tails)
    end
  else
    row[ATTEMPT] = row[ATTEMPT] - 1
    put_back(row, id, delay, heads)
  end
  row[ENDING], row[CHANGED] = ending, now
  touched[#touched + 1] = id
end

local reply = { 'OK', now }
for i = 2, #ARGV, 3 do
  local id, row = ARGV[i], rows[ARGV[i]]
  local ending, flags, fence, delay, random = struct.unpack('>BBI8I8I4', ARGV[i + 1])
  local word = 'LOST'
  if not row then
    word = 'UNKNOWN'
  elseif row[FENCE] == fence and row[STATE] == IN_PROGRESS and row[TIME] > now then
    apply(row, id, ending, flags, delay, random, ARGV[i + 2])
    word = 'DONE'
  elseif row[FENCE] == fence and row[STATE] ~= IN_PROGRESS and row[ENDING] == ending then
    word = 'REPEATED'
  end
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = word, row and row[STATE] or 0, row and row[TIME] or 0
  reply[n + 4] = row and row.claim ~= '' and owner(row) or ''
end
if #touched == 0 then return reply end

if #ended > 0 then redis.call('ZADD', t, unpack(ended)) end
if #dead > 0 then redis.call('ZADD', d, unpack(dead)) end
if #due > 0 then redis.call('ZADD', z, unpack(due)) end
for priority, group in pairs(tails) do redis.call('RPUSH', KEYS[10 + priority], unpack(group)) end
for priority, group in pairs(heads) do
  local backwards = {}
  for i, id in ipairs(group) do backwards[#group + 1 - i] = id end
  redis.call('LPUSH', KEYS[10 + priority], unpack(backwards))
end
if #texts > 0 then redis.call('HSET', o, unpack(texts)) end
local metas = {}
for i, id in ipairs(touched) do metas[2 * i - 1], metas[2 * i] = id, pack_row(rows[id]) end
redis.call('HSET', m, unpack(metas))
redis.call('ZREM', l, unpack(touched))
if completed > 0 then redis.call('HINCRBY', s, 'completed', completed) end
if failed > 0 then redis.call('HINCRBY', s, 'failed', failed) end
tell_ended(g, finals)
-- Whoever waits knows the next due time only as it was: a new one may come before it.
wake(w, ready > 0 and ready or #due > 0 and 1 or 0)
return reply
