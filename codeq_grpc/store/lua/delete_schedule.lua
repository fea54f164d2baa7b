#!lua flags=allow-oom
-- Deletes a schedule. Its firings and versions go bit by bit, as `w` says, which comes first.
-- KEYS: m b h t v w
-- ARGV: id; number and version that it must be of, 7 zero bytes and 0 for any; 1 to delete one of
--   codeQ's own
-- Reply: OK | MISSING | CHANGED | SYSTEM
-- @include schedules
-- @include write
-- @include records
local id, row = ARGV[1], read_schedule(redis.call('HGET', m, ARGV[1]))
if not row then return { 'MISSING' } end
if not is_expected(row, ARGV[2], tonumber(ARGV[3])) then return { 'CHANGED' } end
if is(row, SYSTEM) and ARGV[4] ~= '1' then return { 'SYSTEM' } end
local current, entries = redis.call('HGET', b, id), {}
for _, record in ipairs({ current or '', record_of(row, row.version, current) or '' }) do
  for _, term in ipairs(terms_of(record)) do entries[#entries + 1] = term .. id end
end
local waste = row.number .. struct.pack('>I4I4', row.first, row.version) .. id
redis.call('ZADD', w, 0, waste)
redis.call('HDEL', m, id)
redis.call('ZREM', t, id)
write('ZREM', v, entries)
redis.call('HDEL', b, id)
return { 'OK' }
