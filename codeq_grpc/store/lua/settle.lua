#!lua flags=allow-oom
-- Takes from the outbox what was delivered, unless it was put there anew meanwhile.
-- KEYS: s m f x
-- ARGV: of each entry it, the ids of the followers that were told, each of 18 bytes, 1 when there
--   are more of them, and the time till which it was taken
-- Reply: OK
-- @include queue
-- @include rows
-- @include write
local told, done, ids, metas, again = {}, {}, {}, {}, {}
for i = 1, #ARGV, 4 do
  local entry, id = ARGV[i], ARGV[i]:sub(2)
  for at = 1, #ARGV[i + 1], 18 do told[#told + 1] = id .. ARGV[i + 1]:sub(at, at + 17) end
  local is_same = redis.call('ZSCORE', x, entry) == ARGV[i + 3]
  if is_same and ARGV[i + 2] == '1' then
    again[#again + 1], again[#again + 2] = Q.now, entry
  elseif is_same then
    done[#done + 1] = entry
    if entry:sub(1, 1) == 'E' then ids[#ids + 1] = id end
  end
end
write('ZREM', f, told)
for i, row in ipairs(read_rows(ids)) do
  -- One that goes on, redriven meanwhile, may be followed anew.
  if row and not row.purged and row[STATE] >= COMPLETED and has(row, FOLLOWED) then
    set_flag(row, FOLLOWED, false)
    metas[#metas + 1], metas[#metas + 2] = ids[i], pack_row(row)
  end
end
write('HSET', m, metas)
write('ZREM', x, done)
write('ZADD', x, again)
return { 'OK' }
