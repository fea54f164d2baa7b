-- Makes up to `limit` scheduled tasks that are due claimable; gives how many. `lists` is the
-- function from priority to key.
local function promote(due, meta, lists, now, limit)
  local ids = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)
  if #ids == 0 then return 0 end
  local rows, changed, groups, late, gone, count = read_rows(meta, ids), {}, {}, {}, {}, 0
  for i, id in ipairs(ids) do
    local row = rows[i]
    if row and row[STATE] == SCHEDULED and row[TIME] > now then
      late[#late + 1] = row[TIME]
      late[#late + 1] = id
    else
      gone[#gone + 1] = id
    end
    if row and row[STATE] == SCHEDULED and row[TIME] <= now then
      push(groups, row[PRIORITY], id)
      row[STATE], row[CHANGED] = PENDING, now
      changed[#changed + 1] = id
      changed[#changed + 1] = pack_row(row)
      count = count + 1
    end
  end
  for priority, group in pairs(groups) do redis.call('RPUSH', lists(priority), unpack(group)) end
  if count > 0 then redis.call('HSET', meta, unpack(changed)) end
  if #gone > 0 then redis.call('ZREM', due, unpack(gone)) end
  if #late > 0 then redis.call('ZADD', due, unpack(late)) end
  return count
end
